"""Rankings and bootstrap resampling for several audits: pure functions of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.stats.intervals import LEVEL, Estimate, estimate, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array


RESAMPLES = 300


def by_pair(u: Array, among: Array) -> Array:
    """Return (pairs, n) float64 in (0, 1): the rank of every example in each pair of models.

    u: (models, n), pairs of models one after the other
    among: (models, n) bool, each example in exactly one model of a pair (its memberships, or their complement)

    The rank of an example is its mid-rank within the model that it is `among`, as a fraction of that model's examples:
    partners share none, so each pair ranks the whole pool once.
    """
    from scipy.stats import rankdata

    places = np.zeros(u.shape)
    for row, inside in enumerate(among):
        places[row, inside] = (rankdata(u[row, inside]) - 0.5) / inside.sum()
    return np.where(among[0::2], places[0::2], places[1::2])


def by_model(u: Array) -> Array:
    """Return (models, n) float64 in (0, 1): each model's mid-ranks of n examples, as fractions of their number."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(u, axis=1) - 0.5) / u.shape[1])


def whole_places(fractions: Array, rng: np.random.Generator) -> Array:
    """Return (rankings, n) int64 ranks 0 to n - 1, ties broken at random.

    Breaking ties by position would break them alike in every ranking, which would look like agreement.
    """
    order = np.lexsort((rng.random(fractions.shape), fractions), axis=-1)
    out = np.empty(fractions.shape, dtype=np.int64)
    np.put_along_axis(out, order, np.broadcast_to(np.arange(fractions.shape[1]), fractions.shape), axis=1)
    return out


def spearman(a: Array, b: Array) -> Array:
    """Return (rows of a, rows of b) rank correlations of (rows, n) arrays, ties by mid-ranks; nan for constant rows."""
    from scipy.stats import rankdata

    def standard(x: Array) -> Array:
        ranks = rankdata(x, axis=1)
        ranks -= ranks.mean(axis=1, keepdims=True)
        norm = np.sqrt(np.square(ranks).sum(axis=1, keepdims=True))
        return np.asarray(np.divide(ranks, norm, out=np.full(ranks.shape, np.nan), where=norm > 0))

    return np.asarray(standard(a) @ standard(b).T)


def over_examples(
    statistic: Callable[[Array], float], n: int, rng: np.random.Generator, *, reason: str, resamples: int | None = None
) -> Estimate:
    """Return statistic(rows) of all n examples, with the percentile bootstrap over examples.

    resamples: their number, default RESAMPLES

    Resamples for which the statistic is nan do not count; if it is nan for all n examples, the estimate is n/a for the
    given reason.
    """
    value = statistic(np.arange(n))
    if not np.isfinite(value):
        return unavailable(reason, n)
    drawn = np.array([statistic(rng.integers(n, size=n)) for _ in range(resamples or RESAMPLES)])
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return estimate(value, low, high, n)
