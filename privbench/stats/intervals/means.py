"""Means of independent numbers, such as the results of several targets, with and without bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privbench.stats.intervals.estimates import LEVEL, Bounded, Estimate, estimate, rounded
from privbench.stats.intervals.proportions import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array


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
