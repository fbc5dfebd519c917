"""Discrimination of members from non-members: AUC and balanced accuracy."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from privbench.stats.intervals.estimates import LEVEL, Estimate, estimate, unavailable
from privbench.stats.intervals.proportions import clopper_pearson

if TYPE_CHECKING:
    from privbench.aliases import Array


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
