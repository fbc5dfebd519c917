"""Success rates of an attack per example: dispersion against chance, intervals, histograms. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from privbench.stats.intervals import LEVEL, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array


SHUFFLES = 499


class Dispersion(NamedTuple):
    """The dispersion of success rates, against the binomial null of equal rates for all examples."""

    chi2: float
    """sum_i N_i (R_i - Rbar)^2 / (Rbar (1 - Rbar)); nan if no example, or every example, is flagged."""
    df: int
    p: float
    """Probability of a chi-square at least as large under the null."""

    @property
    def ratio(self) -> float:
        """chi2 / df: about 1 for equal rates, the number of trials if each example is flagged always or never."""
        return self.chi2 / self.df if self.df else float("nan")


def dispersion(hits: Array, trials: Array) -> Dispersion:
    """Return the dispersion of (n,) hits in (n,) trials, without examples that have no trials."""
    from scipy.stats import chi2 as law

    hits, trials = hits[trials > 0], trials[trials > 0]
    df = max(len(hits) - 1, 0)
    mean = float(hits.sum() / trials.sum()) if df else 0.0
    if not 0 < mean < 1:
        return Dispersion(float("nan"), df, float("nan"))
    chi2 = float((np.square(hits - trials * mean) / trials).sum() / (mean * (1 - mean)))
    return Dispersion(chi2, df, float(law.sf(chi2, df)))


def shuffled_p(decisions: Array, where: Array, rng: np.random.Generator, shuffles: int = SHUFFLES) -> float:
    """Return the p-value of the dispersion if each model's decisions are shuffled among the examples that count.

    decisions, where: (models, n) bool

    It tests the same as the chi-square and is exact, also for rates near 0 or 1 and models with different rates: sums
    of squares are compared, as everything else is fixed.
    """
    trials = np.maximum(where.sum(axis=0), 1)
    rows = [np.flatnonzero(inside) for inside in where]
    flags = [decision[row] for decision, row in zip(decisions, rows, strict=True)]

    def spread(drawn: list[Array]) -> float:
        hits = np.zeros(where.shape[1])
        for row, flag in zip(rows, drawn, strict=True):
            hits[row] += flag
        return float((hits**2 / trials).sum())

    found = spread(flags) * (1 - 1e-12)  # equal sums may be rounded differently
    beyond = sum(spread([rng.permutation(flag) for flag in flags]) >= found for _ in range(shuffles))
    return (1 + beyond) / (1 + shuffles)


def trials_of(member: Array) -> int:
    """Return the number of models with a given example, from (models, n) bool memberships; the least if they differ."""
    return int(member.sum(axis=0).min())


def posterior(hits: Array | int, trials: Array | int) -> tuple[Array, Array]:
    """Return the central 95 % intervals of rates under a Beta(1, 1) prior, of the shape of hits."""
    from scipy.special import betaincinv

    tail = (1 - LEVEL) / 2
    a, b = np.add(hits, 1.0), np.subtract(trials, hits) + 1.0
    return np.asarray(betaincinv(a, b, tail)), np.asarray(betaincinv(a, b, 1 - tail))


def histogram(hits: Array, trials: Array) -> Array:
    """Return (bins, 3) float64: rate, number of examples, and number expected for equal rates.

    Bins are 1 / N wide, where N is the maximum number of trials, and centred on k / N. Examples without trials are
    omitted.
    """
    from scipy.stats import binom

    hits, trials = hits[trials > 0], trials[trials > 0]
    most = int(trials.max(initial=0))
    bins = np.floor(hits / trials * most + 0.5).astype(int)
    expected, mean = np.zeros(most + 1), hits.sum() / max(trials.sum(), 1)
    for n in np.unique(trials):
        k = np.arange(n + 1)
        np.add.at(expected, np.floor(k / n * most + 0.5).astype(int), (trials == n).sum() * binom.pmf(k, n, mean))
    return np.stack([np.arange(most + 1) / max(most, 1), np.bincount(bins, minlength=most + 1), expected], axis=1)


def mean_where(values: Array, where: Array) -> Array:
    """Return (n,) means of (models, n) values over the models that count; nan without any."""
    count = where.sum(axis=0)
    total = np.where(where, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def rows_of(columns: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return columns as the rows of a table, numbers as Python's with at most nine digits."""

    def plain(number: float) -> float:
        return rounded(number, 9) if isinstance(number, float) else number

    lists = [[plain(number) for number in column.tolist()] for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
