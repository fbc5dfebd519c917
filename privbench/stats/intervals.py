"""Estimates with 95 % confidence intervals: rates, balanced accuracy, AUC, means.

Arrays are (targets, examples). An example occurs once under every target, so its scores are dependent: intervals treat
the *examples* as the sample (clusters) and the targets as fixed. The spread over targets (metrics.py) shows the effect
of another training. With one target all of this is the textbook interval: Clopper-Pearson, DeLong.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from privbench.stats.ranges import Count, Finite, ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

    from privbench.aliases import Array

LEVEL = 0.95
"""Coverage of every interval in a record."""


class Estimate(BaseModel):
    """A number, its 95 % interval, and its sample size; without a value it is n/a, for the reason in `note`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    value: Finite | None
    """The number; null if the data cannot support one."""
    low: Finite | None
    """Lower end of the 95 % interval."""
    high: Finite | None
    """Upper end of the 95 % interval; the interval contains the value."""
    n: Count
    """Number of observations; one example counts once for every target."""
    note: str = ""
    """Why it is n/a, or a remark."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        ordered(self.low, self.value, self.high)
        return self


def _within(least: float, most: float) -> Callable[[Estimate], Estimate]:
    """Return a validator of estimates, which with their intervals lie in [least, most]."""

    def validate(found: Estimate) -> Estimate:
        for number in (found.value, found.low, found.high):
            if number is not None and not least <= number <= most:
                raise PydanticCustomError("range", f"{number:g} is outside [{least:g}, {most:g}]")
        return found

    return validate


Share = Annotated[Estimate, AfterValidator(_within(0.0, 1.0))]
"""An estimate from 0 to 1, such as a rate or an AUC."""
Signed = Annotated[Estimate, AfterValidator(_within(-1.0, 1.0))]
"""An estimate from -1 to 1."""
AtLeastZero = Annotated[Estimate, AfterValidator(_within(0.0, math.inf))]
"""An estimate of at least 0, such as a distance."""


def unavailable(reason: str, n: int = 0) -> Estimate:
    """Return n/a."""
    return Estimate(value=None, low=None, high=None, n=n, note=reason)


def estimate(value: float, low: float, high: float, n: int, note: str = "") -> Estimate:
    """Return an estimate whose interval contains its value, whatever rounding or resampling did to the limits.

    Nine digits are kept, so that a record does not depend on a library's order of summation.
    """
    low, value, high = (rounded(float(number), 9) for number in (min(low, value), value, max(high, value)))
    return Estimate(value=value, low=low, high=high, n=int(n), note=note)


class Bounded(float):
    """A number in [least, most]: by default a share, such as a rate or an AUC.

    of: least number of observations behind it, used if several shares do not differ
    alone: its own interval, used if there is no other number

    The interval of a mean of several stays within the bounds.
    """

    least: float
    most: float
    of: int
    alone: Estimate | None

    def __new__(
        cls, value: float, least: float = 0.0, most: float = 1.0, of: int = 1, alone: Estimate | None = None
    ) -> Self:
        """Return the number. Raises ValueError if it is out of bounds."""
        if value < least or value > most:
            raise ValueError(f"{value:g} lies outside [{least:g}, {most:g}], where it should be.")
        self = super().__new__(cls, value)
        self.least, self.most, self.of, self.alone = least, most, of, alone
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return the arguments that make it again in another process."""
        return float(self), self.least, self.most, self.of, self.alone


def mean(values: Array, least: float = -math.inf, most: float = math.inf, of: int = 1) -> Estimate:
    """Return the mean of (n,) independent numbers in [least, most] with its interval; of a single one, only the number.

    Without two bounds it is Student's t interval, clipped at the bound. Between two it is Wilson's score interval with
    Student's quantile and the effective number of trials that the spread implies (Franco et al., Comparative Study of
    Confidence Intervals for Proportions in Complex Sample Surveys, 2019): near a bound it is skewed, as the numbers
    are. If these do not differ, as at a bound, it is Clopper-Pearson for n * of trials. of: number of observations
    behind each number
    """
    from scipy.special import stdtrit

    n, value = len(values), float(values.mean())
    if n < 2:  # noqa: PLR2004 - a spread takes two
        return Estimate(value=rounded(value, 9), low=None, high=None, n=n, note="one observation: no interval")
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(n))
    if not math.isfinite(most - least):
        return estimate(value, max(value - half, least), min(value + half, most), n)
    width = most - least
    low, high = _wilson(min(max((value - least) / width, 0.0), 1.0), half / width, n, of)
    return estimate(value, least + width * low, least + width * high, n)


def share(values: Array, of: int = 1) -> Estimate:
    """Return the mean of (n,) independent shares, each of `of` observations, with an interval within [0, 1]."""
    return mean(values, 0.0, 1.0, of)


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean of independent numbers, within the widest of their declared bounds if all are `Bounded`."""
    if len(values) == 1 and isinstance(values[0], Bounded) and values[0].alone is not None:
        return values[0].alone
    array, bounded = np.array([float(each) for each in values]), [each for each in values if isinstance(each, Bounded)]
    if len(bounded) < len(values):
        return mean(array)
    least, most = min(each.least for each in bounded), max(each.most for each in bounded)
    return mean(array, least, most, of=min(each.of for each in bounded))


def _wilson(value: float, half: float, n: int, of: int) -> tuple[float, float]:
    """Return the score interval of a mean of n shares whose Student's t interval has the half-width `half`."""
    variance = value * (1 - value)
    if variance == 0 or (half == 0 and of > 1):
        return clopper_pearson(value * n * of, n * of)
    inverse = half**2 / variance  # square of the quantile over the effective number of trials
    middle, reach = value + inverse / 2, math.sqrt(half**2 + inverse**2 / 4)
    return (middle - reach) / (1 + inverse), (middle + reach) / (1 + inverse)


def rounded(number: float, digits: int) -> float:
    """Return the number with the given number of significant digits."""
    return float(f"{number:.{digits}g}")


def clopper_pearson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a proportion with k hits in n trials (Clopper and Pearson 1934).

    Without trials it is (0, 1). k and n need not be integers: survey statistics uses effective numbers.
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def rate(hits: Array, trials: Array, level: float = LEVEL) -> Estimate:
    """Return sum(hits) / sum(trials) for (examples,) counts, with its interval clustered by example.

    One trial per example: Clopper-Pearson. Otherwise the same with the effective number of trials that the spread
    between examples implies (Korn & Graubard 1998), which also works at 0 and 1, where a Wald interval is a point.
    """
    hits, trials = hits[trials > 0], trials[trials > 0]
    clusters, n = len(trials), int(trials.sum())
    if n == 0:
        return unavailable("no observations")
    value = float(hits.sum() / n)
    effective = float(n)
    if clusters < n and value in (0.0, 1.0):
        effective = float(clusters)
    elif clusters < n and clusters > 1:
        variance = clusters / (clusters - 1) * float(np.square(hits - value * trials).sum()) / n**2
        effective = min(effective, value * (1 - value) / variance) if variance > 0 else effective
    elif clusters < n:
        return estimate(value, 0.0, 1.0, n, "one example only: nothing is known of others")
    return estimate(value, *clopper_pearson(value * effective, effective, level), n)


def accuracy(correct: Array, where: Array | None = None) -> Estimate:
    """Return the share of correct predictions in (models, examples) bool, clustered by example.

    where: of the same shape, the predictions that count; default: all
    """
    counted = np.ones(correct.shape, dtype=bool) if where is None else where
    return rate((correct & counted).sum(axis=0), counted.sum(axis=0))


def delong(scores: Array, member: Array) -> tuple[float, float]:
    """Return AUC (ties count half) and its standard error for (n,) scores (DeLong, DeLong & Clarke-Pearson 1988).

    The error is nan with a single member or non-member; both are nan without any.
    """
    if member.all() or not member.any():
        return math.nan, math.nan
    value, inside, outside = _placements(scores[None], member[None])
    return value, _error(inside, outside, member[None])


def auc(scores: Array, member: Array, level: float = LEVEL) -> Estimate:
    """Return the AUC of all (target, example) scores pooled, ties count half.

    Its error is DeLong's for clustered data (Obuchowski 1997), with examples as clusters.
    """
    if member.all() or not member.any():
        return unavailable(_one_sided(member), member.size)
    value, inside, outside = _placements(scores, member)
    tied = bool(scores.min() == scores.max())
    return _with_interval(value, _error(inside, outside, member), member, tied=tied, level=level)


def auc_influence(scores: Array, member: Array) -> Array:
    """Return (examples,) influences on the AUC: the approximate change of the AUC if the example is drawn twice."""
    _, inside, outside = _placements(scores, member)
    return inside + outside


def balanced_accuracy(decisions: Array, member: Array, *, averaged: bool = False, level: float = LEVEL) -> Estimate:
    """Return (1 + TPR - FPR) / 2 of (targets, examples) decisions; it is the AUC of the decisions as scores.

    Rates are pooled over targets, or computed for each target and then averaged. Both are linear in the examples'
    counts, whose spread gives the error.
    """
    if member.all() or not member.any():
        return unavailable(_one_sided(member), member.size)
    if averaged:
        both = member.any(axis=1) & ~member.all(axis=1)
        if not both.any():
            return unavailable("no target has both members and non-members", member.size)
        decisions, member = decisions[both], member[both]
    axis, parts = (1, len(member)) if averaged else (None, 1)
    n_in, n_out = member.sum(axis=axis, keepdims=True), (~member).sum(axis=axis, keepdims=True)
    tpr = (decisions & member).sum(axis=axis, keepdims=True) / n_in
    fpr = (decisions & ~member).sum(axis=axis, keepdims=True) / n_out
    inside = (member * (decisions - tpr) / (2 * n_in * parts)).sum(axis=0)
    outside = (~member * (fpr - decisions) / (2 * n_out * parts)).sum(axis=0)
    value = float((1 + tpr - fpr).mean() / 2)
    tied = bool(decisions.all() or not decisions.any())
    return _with_interval(value, _error(inside, outside, member), member, tied=tied, level=level)


def _placements(scores: Array, member: Array) -> tuple[float, Array, Array]:
    """Return the AUC, and each example's summed deviations from it, of its member and its non-member scores."""
    inside, outside = scores[member], scores[~member]
    n_in, n_out = len(inside), len(outside)
    below = _ranks(inside, np.sort(outside))
    value = float(below.sum() / (2 * n_in * n_out))  # a ratio of integers: exact in any order
    deviations = np.zeros((2, *scores.shape))
    deviations[0][member] = (below / (2 * n_out) - value) / n_in
    deviations[1][~member] = (1 - _ranks(outside, np.sort(inside)) / (2 * n_in) - value) / n_out
    return value, deviations[0].sum(axis=0), deviations[1].sum(axis=0)


def _ranks(values: Array, among: Array) -> Array:
    """Return, for each value, twice the number of smaller values in the sorted `among`, plus that of equal ones."""
    return np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")


def _error(inside: Array, outside: Array, member: Array) -> float:
    """Return the standard error of a statistic whose linear part is sum(inside + outside), (examples,) each."""
    has_in, has_out = int(member.any(axis=0).sum()), int((~member).any(axis=0).sum())
    if min(has_in, has_out) < 2:  # noqa: PLR2004 - a variance needs two
        return math.nan
    clusters = member.shape[1]
    variance = (
        has_in / (has_in - 1) * float(np.square(inside).sum())
        + has_out / (has_out - 1) * float(np.square(outside).sum())
        + 2 * clusters / (clusters - 1) * float((inside * outside).sum())
    )
    return math.sqrt(max(variance, 0.0))


def _with_interval(value: float, error: float, member: Array, *, tied: bool, level: float) -> Estimate:
    """Return a normal interval, clipped to [0, 1]; if the error is 0, an interval from the number of examples.

    Perfect separation has no spread, but is based on few examples: with AUC A, m independent pairs would all be in
    order with probability at most A**m, so A is at least the Clopper-Pearson bound for m of m. The same for ties.
    """
    if math.isnan(error):
        few = "one member" if member.any(axis=0).sum() < (~member).any(axis=0).sum() else "one non-member"
        return estimate(value, 0.0, 1.0, member.size, f"{few} only: nothing is known of others")
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    if tied or value in (0.0, 1.0):
        pairs = min(member.any(axis=0).sum(), (~member).any(axis=0).sum(), member.shape[1] // 2)
        slack = 1 - clopper_pearson(pairs, pairs, level)[0]
        half = slack / 2 if tied else slack
    return estimate(value, max(value - half, 0.0), min(value + half, 1.0), member.size)


def _one_sided(member: Array) -> str:
    return "no members" if not member.any() else "no non-members"
