"""Lower bounds on epsilon from what an attack finds. Pure functions of scores and memberships.

Two kinds. The one-run auditor (Steinke, Nasr & Jagielski 2023) needs independent coin flips that put examples in or
out. Populations have random halves instead; `matched` makes coin flips of them, exactly: given a random matching of
members with non-members, each pair's orientation is a fair coin, independent of the others, and turning one is
replacing one example. The bound of true and false positive rates needs independent decisions, which one model's
answers are not: what it gives is called attack-implied.
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
"""Bounds are sought up to here; no number of guesses that a machine can count gives more."""
STEPS = 48
SHARES = (0.01, 0.05, 0.2, 1.0)
"""Shares of all pairs on which the auditor guesses, the surest first; it abstains on the rest."""


def rates_bound(true_positives: int, members: int, false_positives: int, nonmembers: int, delta: float = 0.0) -> float:
    """Return max(ln((TPR_low - delta) / FPR_high), ln((TNR_low - delta) / FNR_high), 0), at joint 95 %.

    Exact (Clopper-Pearson) one-sided 97.5 % limits of both rates, for independent decisions of a fixed threshold.
    """
    low, _ = clopper_pearson(true_positives, members)
    _, high = clopper_pearson(false_positives, nonmembers)
    return max(_log_ratio(low - delta, high), _log_ratio(1 - high - delta, 1 - low), 0.0)


def rates_point(
    true_positives: int, members: int, false_positives: int, nonmembers: int, delta: float = 0.0
) -> float | None:
    """Return the same of the rates themselves; None where a rate of 0 makes it infinite, or there is no example."""
    if not members or not nonmembers:
        return None
    tpr, fpr = true_positives / members, false_positives / nonmembers
    if (fpr == 0 and tpr > delta) or (tpr == 1 and 1 - fpr > delta):
        return None
    return max(_log_ratio(tpr - delta, fpr), _log_ratio(1 - fpr - delta, 1 - tpr), 0.0)


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def best_cut(scores: Array, member: Array, delta: float = 0.0) -> float:
    """Return the threshold whose `rates_bound` is largest on (n,) scores; use it on other scores than these."""
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
    """Return the p-value of `right` of `guesses` on so many canaries under (epsilon, delta)-DP (Theorem 5.2).

    Each canary was in with probability 1/2, independently. min(1, beta + 2 m delta alpha), with q = 1 / (1 + e^-eps),
    beta = P[Bin(r, q) >= v], alpha = max_i P[v - i <= Bin(r, q) < v] / i.
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
    """Return the largest epsilon that `one_run_p` rejects at level alpha: a lower bound, 0 where it rejects none."""
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
    """Guesses of which of two examples is the member, for pairs of one each; the surest first."""

    surety: Array
    """(pairs,) float64, how far the scores of the two lie apart."""
    right: Array
    """(pairs,) bool; a tie is not right."""


def matched(scores: Array, member: Array, rng: np.random.Generator) -> Matched:
    """Match each member of one target with a non-member at random, and guess that the higher score is the member's.

    scores, member: (n,). What is left over of the larger side plays no part. The matching and the order of sureties
    say nothing about who is the member: given them, each pair is a fair coin.
    """
    inside, outside = rng.permutation(np.flatnonzero(member)), rng.permutation(np.flatnonzero(~member))
    count = min(len(inside), len(outside))
    apart = scores[inside[:count]] - scores[outside[:count]]
    # Pairs of equal surety are ordered by their examples, and not by how they are oriented.
    first = np.minimum(inside[:count], outside[:count])
    order = np.lexsort((first, -np.abs(apart)))
    return Matched(np.abs(apart[order]), apart[order] > 0)


class OneRun(NamedTuple):
    """What the auditor made of one target."""

    epsilon: float
    """Lower bound."""
    guesses: int
    right: int
    """At the number of guesses that gave the bound."""


def audited(right: Array, delta: float = 0.0, alpha: float = ALPHA, shares: Sequence[float] = SHARES) -> OneRun:
    """Return the best bound over some numbers of guesses, each at level alpha / how many there are (Bonferroni).

    right: (pairs,) bool, the surest first.
    """
    pairs = len(right)
    found = []
    for guesses in sorted({max(1, round(share * pairs)) for share in shares} if pairs else {0}):
        hits = int(right[:guesses].sum())
        found.append(OneRun(one_run_bound(pairs, guesses, hits, delta, alpha / len(shares)), guesses, hits))
    return max(found)


def of_many(bounds: Sequence[float]) -> float:
    """Return the bound that half of several runs reach, rounded up; each is at level `level_of_each`.

    However the runs hang together, k of T reject a true hypothesis at level alpha k / T with probability alpha at most
    (Rueger 1978).
    """
    return float(sorted(bounds, reverse=True)[math.ceil(len(bounds) / 2) - 1])


def claim_p(right: Array, epsilon: float, delta: float, shares: Sequence[float] = SHARES) -> float:
    """Return the p-value of one run under (epsilon, delta)-DP for replacing one example.

    The best over some numbers of guesses, times how many there are (Bonferroni). right: (pairs,) bool, surest first.
    """
    pairs = len(right)
    counts = {max(1, round(share * pairs)) for share in shares} if pairs else {0}
    each = [one_run_p(epsilon, pairs, guesses, int(right[:guesses].sum()), delta) for guesses in counts]
    return min(1.0, len(shares) * min(each))


def p_of_many(values: Sequence[float]) -> float:
    """Return a p-value for several hypotheses together, however their tests hang together, given that of each.

    The smaller of T p_(1), which sees a single false one (Bonferroni), and of T / k p_(k) with k half of them, which
    sees that many are a little false (Rueger 1978); times two, for there are two.
    """
    ordered, runs = sorted(values), len(values)
    ranks = {1, math.ceil(runs / 2)}
    return min(1.0, len(ranks) * min(ordered[rank - 1] * runs / rank for rank in ranks))


def level_of_each(runs: int, alpha: float = ALPHA) -> float:
    """Return the level at which each of several runs must be bounded for `of_many` to hold at alpha."""
    return alpha * math.ceil(runs / 2) / runs
