"""Lower bounds of epsilon from attack results. Pure functions of scores and memberships.

There are two kinds. The one-run auditor (Steinke, Nasr & Jagielski 2023) requires independent coin flips that include
or exclude examples. Populations have random halves instead; `matched` derives exact coin flips from them: given a
random matching of members with non-members, each pair's orientation is a fair coin, independent of the others, and
flipping one is replacing one example. The bound from true and false positive rates requires independent decisions,
which those of one model are not: its result is called attack-implied.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array

ALPHA = 0.05
LARGEST = 50.0
"""Upper limit of the search; no feasible number of guesses gives more."""
STEPS = 48
SHARES = (0.01, 0.05, 0.2, 1.0)
"""Shares of all pairs on which the auditor guesses, the most certain first; it abstains on the rest."""


def rates_bound(true_positives: int, members: int, false_positives: int, nonmembers: int, delta: float = 0.0) -> float:
    """Return max(ln((TPR_low - delta) / FPR_high), ln((TNR_low - delta) / FNR_high), 0), at a joint level of 95 %.

    Exact (Clopper-Pearson) one-sided 97.5 % limits of both rates, for independent decisions of a fixed threshold.
    """
    low, _ = clopper_pearson(true_positives, members)
    _, high = clopper_pearson(false_positives, nonmembers)
    return max(_log_ratio(low - delta, high), _log_ratio(1 - high - delta, 1 - low), 0.0)


def rates_point(
    true_positives: int, members: int, false_positives: int, nonmembers: int, delta: float = 0.0
) -> float | None:
    """Return the same for the rates themselves; None if a rate of 0 makes it infinite, or there are no examples."""
    if not members or not nonmembers:
        return None
    tpr, fpr = true_positives / members, false_positives / nonmembers
    if (fpr == 0 and tpr > delta) or (tpr == 1 and 1 - fpr > delta):
        return None
    return max(_log_ratio(tpr - delta, fpr), _log_ratio(1 - fpr - delta, 1 - tpr), 0.0)


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def best_cut(scores: Array, member: Array, delta: float = 0.0) -> float:
    """Return the threshold with the largest `rates_bound` on (n,) scores; use it on other scores than these."""
    order = np.argsort(-scores, kind="stable")
    ranked, inside = scores[order], member[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # tied scores go together
    tp, total = np.cumsum(inside)[ends], int(inside.sum())
    fp, others = ends + 1 - tp, len(inside) - total
    from scipy.special import betaincinv

    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(tp > 0, betaincinv(tp, total - tp + 1, ALPHA / 2), 0.0)
        high = np.where(fp < others, betaincinv(fp + 1, others - fp, 1 - ALPHA / 2), 1.0)
        found = np.maximum(np.log((low - delta) / high), np.log((1 - high - delta) / (1 - low)))
    return float(ranked[ends[np.nanargmax(np.nan_to_num(found, nan=-np.inf))]])


def one_run_p(epsilon: float, canaries: int, guesses: int, right: int, delta: float = 0.0) -> float:
    """Return the p-value of `right` of `guesses` on a number of canaries under (epsilon, delta)-DP (Theorem 5.2).

    Each canary was included with probability 1/2, independently. min(1, beta + 2 m delta alpha), with q = 1 / (1 +
    e^-eps), beta = P[Bin(r, q) >= v], alpha = max_i P[v - i <= Bin(r, q) < v] / i.
    """
    from scipy.special import betainc

    q = 1 / (1 + math.exp(-epsilon))
    if right == 0:
        return 1.0
    beta = float(betainc(right, guesses - right + 1, q))
    if delta == 0:
        return beta
    steps = np.arange(1, right + 1)
    from_there = np.append(betainc(right - steps[:-1], guesses - right + steps[:-1] + 1, q), 1.0)  # P[Bin >= v - i]
    alpha = float(((from_there - beta) / steps).max())
    return min(1.0, beta + 2 * canaries * delta * alpha)


def one_run_bound(canaries: int, guesses: int, right: int, delta: float = 0.0, alpha: float = ALPHA) -> float:
    """Return the largest epsilon that `one_run_p` rejects at level alpha: a lower bound, 0 if it rejects none."""
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"{right} right of {guesses} guesses on {canaries} canaries cannot be.")
    if one_run_p(0.0, canaries, guesses, right, delta) > alpha:
        return 0.0
    low, high = 0.0, LARGEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if one_run_p(middle, canaries, guesses, right, delta) <= alpha else (low, middle)
    return low


class Matched(NamedTuple):
    """Guesses which of two examples is the member, for pairs of a member and a non-member; most certain first."""

    surety: Array
    """(pairs,) float64, the difference of the two scores."""
    right: Array
    """(pairs,) bool; a tie does not count as right."""


def matched(scores: Array, member: Array, rng: np.random.Generator) -> Matched:
    """Match each member of one target with a random non-member, and guess that the higher score is the member's.

    scores, member: (n,)

    The remainder of the larger side is not used. The matching and the order of certainties say nothing about
    membership: given them, each pair is a fair coin.
    """
    inside, outside = rng.permutation(np.flatnonzero(member)), rng.permutation(np.flatnonzero(~member))
    count = min(len(inside), len(outside))
    apart = scores[inside[:count]] - scores[outside[:count]]
    # Pairs of equal certainty are ordered by their examples, not by their orientation.
    first = np.minimum(inside[:count], outside[:count])
    order = np.lexsort((first, -np.abs(apart)))
    return Matched(np.abs(apart[order]), apart[order] > 0)


class OneRun(NamedTuple):
    """The auditor's result for one target."""

    epsilon: float
    """Lower bound."""
    guesses: int
    right: int
    """Correct guesses, at the number of guesses that gave the bound."""


def audited(right: Array, delta: float = 0.0, alpha: float = ALPHA, shares: Sequence[float] = SHARES) -> OneRun:
    """Return the best bound over several numbers of guesses, each at level alpha / their count (Bonferroni).

    right: (pairs,) bool, the most certain first
    """
    pairs = len(right)
    found = []
    for guesses in sorted({max(1, round(share * pairs)) for share in shares} if pairs else {0}):
        hits = int(right[:guesses].sum())
        found.append(OneRun(one_run_bound(pairs, guesses, hits, delta, alpha / len(shares)), guesses, hits))
    return max(found)


def of_many(bounds: Sequence[float]) -> float:
    """Return the bound reached by half of several runs, rounded up; each is at level `level_of_each`.

    Under any dependence, k of T runs reject a true hypothesis at level alpha k / T with probability at most alpha
    (Rueger 1978).
    """
    return float(sorted(bounds, reverse=True)[math.ceil(len(bounds) / 2) - 1])


def claim_p(right: Array, epsilon: float, delta: float, shares: Sequence[float] = SHARES) -> float:
    """Return the p-value of one run under (epsilon, delta)-DP for replacing one example.

    The best over several numbers of guesses, times their count (Bonferroni).
    right: (pairs,) bool, most certain first
    """
    pairs = len(right)
    counts = {max(1, round(share * pairs)) for share in shares} if pairs else {0}
    each = [one_run_p(epsilon, pairs, guesses, int(right[:guesses].sum()), delta) for guesses in counts]
    return min(1.0, len(shares) * min(each))


def p_of_many(values: Sequence[float]) -> float:
    """Return a joint p-value for several hypotheses from their individual ones, under any dependence.

    The smaller of T p_(1), which detects a single false one (Bonferroni), and of T / k p_(k) with k half of them, which
    detects many that are slightly false (Rueger 1978); times two, because there are two.
    """
    ordered, runs = sorted(values), len(values)
    ranks = {1, math.ceil(runs / 2)}
    return min(1.0, len(ranks) * min(ordered[rank - 1] * runs / rank for rank in ranks))


def level_of_each(runs: int, alpha: float = ALPHA) -> float:
    """Return the level for each of several runs with which `of_many` holds at alpha."""
    return alpha * math.ceil(runs / 2) / runs
