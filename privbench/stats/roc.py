"""Low-FPR end of the ROC curve: TPR at a small FPR, and its uncertainty.

A threshold at a nominal false positive rate a is the smallest t with #{non-member scores >= t} <= floor(a * n0).
There is no interpolation, and tied scores are flagged together or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from privbench.seeds import numpy_generator
from privbench.stats.intervals import LEVEL, Share, estimate, rate, unavailable
from privbench.stats.ranges import Count, Finite, Fraction
from privbench.stats.resampling import multiplicities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privbench.aliases import Array

POINTS = 60
"""Maximum number of points of a ROC in a record."""
FEW_FALSE_POSITIVES = 10
"""With fewer allowed false positives, a threshold is barely supported."""


class OperatingPoint(BaseModel):
    """TPR at a nominal FPR."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fpr: Fraction
    """Nominal false positive rate."""
    tpr: Share
    """True positive rate; the interval includes the uncertainty of the threshold."""
    threshold: Finite | None
    """The lowest flagged score; null if none is flagged."""
    false_positives: Count
    """Number of non-members at or above the threshold."""
    members: Count
    """Number of member scores."""
    nonmembers: Count
    """Number of non-member scores."""
    supported: Literal["yes", "barely", "no"]
    """Whether the non-members suffice: no, if less than 1 false positive is allowed; barely, if less than 10."""


@dataclass(frozen=True)
class Ranking:
    """Scores of all (target, example) pooled and sorted once, members separate from non-members.

    Scores are negated, so that ascending arrays begin with the likeliest members.
    """

    inside: Array
    """(members,) negated scores, ascending."""
    outside: Array
    """(non-members,) negated scores, ascending."""
    inside_example: Array
    """(members,) example of each score."""
    outside_example: Array
    """(non-members,) example of each score."""
    examples: int

    @classmethod
    def of(cls, scores: Array, member: Array) -> Ranking:
        """Sort (targets, examples) scores."""
        inside, inside_example = _sorted(scores, member)
        outside, outside_example = _sorted(scores, ~member)
        return cls(inside, outside, inside_example, outside_example, scores.shape[1])

    @property
    def trials(self) -> tuple[Array, Array]:
        """(examples,) number of targets with each example as a member, and as a non-member."""
        n = self.examples
        return np.bincount(self.inside_example, minlength=n), np.bincount(self.outside_example, minlength=n)


@dataclass(frozen=True)
class Cut:
    """The result of one threshold."""

    hits: int
    """Members flagged."""
    false_positives: int
    """Non-members flagged."""
    threshold: float | None
    """The lowest flagged score; None if nothing is flagged."""


def tpr_name(fpr: float) -> str:
    """Return the name in tables of the TPR at an FPR: tpr@1%."""
    return f"tpr@{100 * fpr:g}%"


def allowed(fpr: float, nonmembers: int) -> int:
    """Return floor(fpr * nonmembers), robust to rounding: 0.29 of 100 is 29."""
    return math.floor(fpr * nonmembers * (1 + 1e-12))


def cut(ranking: Ranking, budget: int) -> Cut:
    """Flag all scores above that of the first non-member beyond the allowed false positives."""
    inside, outside = ranking.inside, ranking.outside
    hits, false = len(inside), len(outside)
    if budget < false:
        bar = outside[budget]
        hits, false = int(np.searchsorted(inside, bar, "left")), int(np.searchsorted(outside, bar, "left"))
    lowest = [keys[count - 1] for keys, count in ((inside, hits), (outside, false)) if count]
    return Cut(hits, false, float(0.0 - max(lowest)) if lowest else None)


def curve(ranking: Ranking) -> list[tuple[float, float]]:
    """Return at most `POINTS` achieved (FPR, TPR), log-spaced in FPR from 1 / n0 to 1, from (0, 0) to (1, 1)."""
    n_in, n_out = len(ranking.inside), len(ranking.outside)
    if not n_in or not n_out:
        return []
    budgets = np.unique(np.geomspace(1, n_out, POINTS - 3).astype(np.int64))
    cuts = [cut(ranking, int(budget)) for budget in (0, *budgets, n_out)]
    points = [(0.0, 0.0), *((c.false_positives / n_out, c.hits / n_in) for c in cuts)]
    return list(dict.fromkeys(points))


def operating_points(
    ranking: Ranking, fprs: tuple[float, ...], resamples: int, purpose: tuple[int, int | str]
) -> list[OperatingPoint]:
    """Return TPR at each FPR with its percentile bootstrap; n/a if less than one false positive is allowed.

    Stratified if each example counts once, for one target; otherwise examples are resampled.
    purpose: the seed, and the owner of the numbers
    """
    members, nonmembers = len(ranking.inside), len(ranking.outside)
    single = members + nonmembers == ranking.examples
    fit = tuple(fpr for fpr in fprs if members and allowed(fpr, nonmembers))
    draws: dict[float, Array] = {}
    if single:
        for fpr in fit:
            generator = numpy_generator(purpose[0], "metrics", purpose[1], fpr)
            draws[fpr] = stratified_resamples(ranking, fpr, resamples, generator)
    elif fit:
        weights = multiplicities(ranking.trials, resamples, purpose[0], "metrics", purpose[1])
        draws.update(zip(fit, clustered_resamples(ranking, fit, weights), strict=True))
    return [_point(ranking, fpr, draws.get(fpr)) for fpr in fprs]


def _point(ranking: Ranking, fpr: float, draws: Array | None) -> OperatingPoint:
    members, nonmembers = len(ranking.inside), len(ranking.outside)
    budget = allowed(fpr, nonmembers)
    if draws is None:
        enough = bool(budget)
        reason = "no members" if enough else f"{nonmembers} non-members cannot support an FPR of {fpr:g}"
        return OperatingPoint(
            fpr=fpr,
            tpr=unavailable(reason, members),
            threshold=None,
            false_positives=0,
            members=members,
            nonmembers=nonmembers,
            supported="no",
        )
    at = cut(ranking, budget)
    hits = np.bincount(ranking.inside_example[: at.hits], minlength=ranking.examples)
    fixed = rate(hits, np.bincount(ranking.inside_example, minlength=ranking.examples))
    # The bootstrap alone collapses if no member, or every one, is flagged; at the selected threshold, the exact
    # interval does not. Otherwise the bootstrap is the wider of the two, because it varies the threshold as well.
    tails = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = min(tails[0], fixed.low or 0.0), max(tails[1], fixed.high or 0.0)
    few = budget < FEW_FALSE_POSITIVES
    note = f"rests on {budget} false positives at most" if few else ""
    return OperatingPoint(
        fpr=fpr,
        tpr=estimate(at.hits / members, low, high, members, note),
        threshold=at.threshold,
        false_positives=at.false_positives,
        members=members,
        nonmembers=nonmembers,
        supported="barely" if few else "yes",
    )


def stratified_resamples(ranking: Ranking, fpr: float, resamples: int, generator: np.random.Generator) -> Array:
    """Return (resamples,) TPR at an FPR, with members and non-members resampled separately; for one target.

    Exactly the bootstrap, without drawing every example. The non-member just beyond the budget is the (budget + 1)-th
    in rank of n0 uniform draws from n0 ranks: a Beta order statistic, rounded up. Given the threshold, each drawn
    member is flagged independently with probability TPR: a binomial.
    """
    n_in, n_out = len(ranking.inside), len(ranking.outside)
    budget = allowed(fpr, n_out)
    if budget >= n_out:
        return np.ones(resamples)
    position = np.ceil(n_out * generator.beta(budget + 1, n_out - budget, size=resamples)).astype(np.int64) - 1
    flagged = np.searchsorted(ranking.inside, ranking.outside[np.clip(position, 0, n_out - 1)], "left")
    return generator.binomial(n_in, flagged / n_in) / n_in


def clustered_resamples(ranking: Ranking, fprs: tuple[float, ...], weights: Iterable[Array]) -> Array:
    """Return (fprs, resamples) TPR with examples resampled, each with its scores under all targets.

    weights: (chunk, examples) number of draws of each example (resampling.py)
    """
    resampled = ClusteredRates(ranking, fprs)
    return np.concatenate([resampled.tpr(chunk) for chunk in weights], axis=1)


class ClusteredRates:
    """TPR at several FPRs for bootstrap samples of examples."""

    def __init__(self, ranking: Ranking, fprs: tuple[float, ...]) -> None:
        self.trials = ranking.trials
        self.readers = [Weighted(ranking, fpr) for fpr in fprs]

    def tpr(self, weights: Array) -> Array:
        """Return (fprs, resamples) TPR; weights: (resamples, examples)."""
        n_in, n_out = (weights @ side for side in self.trials)
        rates = [reader.hits(weights, n_out) / n_in for reader in self.readers]
        return np.array(rates).reshape(len(rates), len(weights))


class Weighted:
    """Counts true positives at one FPR for weighted examples, only near the possible thresholds."""

    def __init__(self, ranking: Ranking, fpr: float) -> None:
        self.ranking, self.fpr = ranking, fpr
        budget = allowed(fpr, len(ranking.outside))
        self.head = min(2 * budget + 64, len(ranking.outside))
        self.start = cut(ranking, budget).hits
        self.base = np.bincount(ranking.inside_example[: self.start], minlength=ranking.examples)

    def hits(self, weights: Array, nonmembers: Array) -> Array:
        """Return (resamples,) weighted numbers of members flagged.

        weights: (resamples, examples)
        nonmembers: (resamples,) weighted numbers of non-members
        """
        ranking = self.ranking
        budget = np.array([allowed(self.fpr, int(count)) for count in nonmembers])
        bound = budget < nonmembers  # otherwise all may be flagged
        counts = self._counted(weights, ranking.outside_example[: self.head])
        while (counts[bound, -1] <= budget[bound]).any():
            self.head = min(2 * self.head, len(ranking.outside))
            counts = self._counted(weights, ranking.outside_example[: self.head])
        first_over = np.minimum((counts <= budget[:, None]).sum(axis=1), self.head - 1)
        stops = np.searchsorted(ranking.inside, ranking.outside[first_over], "left")
        stops[~bound] = len(ranking.inside)
        low, high = min(self.start, int(stops.min())), max(self.start, int(stops.max()))
        between = np.zeros((len(weights), high - low + 1), dtype=np.int64)
        between[:, 1:] = self._counted(weights, ranking.inside_example[low:high])
        rows = np.arange(len(weights))
        hits: Array = weights @ self.base + between[rows, stops - low] - between[rows, self.start - low]
        return hits

    @staticmethod
    def _counted(weights: Array, examples: Array) -> Array:
        return np.cumsum(weights[:, examples], axis=1, dtype=np.int64)


def _sorted(scores: Array, chosen: Array) -> tuple[Array, Array]:
    keys = -scores[chosen]
    order = np.argsort(keys, kind="stable")
    return keys[order], np.nonzero(chosen)[1][order]
