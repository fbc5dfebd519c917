"""Metrics with intervals from scores and memberships; pure functions, and the corresponding part of a record.

Scores are (targets, examples), higher = likelier member; each example is a member of some targets and not of others.
Pooled numbers use all (target, example) together, with the examples as the sample (intervals/); `per_target` has the
results of each target, whose spread shows the effect of another training. docs/records.md has the definitions; TPR at
low FPR as reported by Carlini et al. 2022 (LiRA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from privbench.errors import CellFailed, InvalidScores
from privbench.stats import intervals, roc
from privbench.stats.intervals import Estimate, Share, Signed
from privbench.stats.ranges import Fraction, FractionsWithIntervals, NonNegative
from privbench.stats.roc import OperatingPoint

if TYPE_CHECKING:
    from privbench.aliases import Array

FPRS = (0.01, 0.001)
RESAMPLES = 1000
DIGITS = 6
"""Significant digits in the long lists of a record."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Spread(_Part):
    """One number for each target, and their spread."""

    values: FractionsWithIntervals
    """(value, low, high) in the order of targets, six digits; null for n/a."""
    mean: Fraction | None
    """Mean over the targets with a value."""
    sd: NonNegative | None
    """Standard deviation over these targets (n - 1); null with fewer than two."""


class TargetSpread(_Part):
    """The results of each target, with textbook intervals: DeLong's, and the stratified bootstrap for TPR."""

    auc: Spread
    """AUC of each target."""
    balanced_accuracy: Spread
    """Balanced accuracy of each target, for the decisions of the attack."""
    tpr_at_fpr: list[Spread]
    """TPR of each target, in the order of the pooled `tpr_at_fpr`."""


class Metrics(_Part):
    """The metrics of an attack's scores, given the memberships."""

    tpr_at_fpr: list[OperatingPoint]
    """TPR at low FPR, of pooled scores."""
    auc: Share
    """Area under the ROC curve of pooled scores, ties count half."""
    balanced_accuracy: Share
    """(1 + TPR - FPR) / 2 of the attacker's decisions."""
    advantage: Signed
    """TPR - FPR of the attacker's decisions."""
    true_positive_rate: Share
    """TPR for the decisions of the attack."""
    false_positive_rate: Share
    """FPR for the decisions of the attack."""
    oracle_balanced_accuracy: Share
    """At the best threshold of each target in hindsight, averaged; not available to an attacker, never used to rank."""
    roc: list[tuple[Fraction, Fraction]]
    """Achieved (FPR, TPR) of pooled scores, log-spaced, without interpolation; six digits."""
    per_target: TargetSpread
    """The results of each target."""


@dataclass(frozen=True)
class Success:
    """Number of targets in which each example was flagged; (examples,) int64 each."""

    hits_in: Array
    """Times flagged as a member."""
    n_in: Array
    """Number of targets with it as a member."""
    hits_out: Array
    """Times flagged as a non-member."""
    n_out: Array
    """Number of targets with it as a non-member."""


def evaluate(
    scores: Array,
    member: Array,
    decisions: Array | None,
    *,
    seed: int,
    fprs: tuple[float, ...] = FPRS,
    resamples: int = RESAMPLES,
) -> Metrics:
    """Evaluate (targets, examples) scores against (targets, examples) bool memberships.

    decisions: (targets, examples) bool, the attacker's decisions "member", or None if it makes none: then n/a

    Raises InvalidScores for scores or decisions of a wrong shape, or non-finite scores.
    """
    member = np.asarray(member, dtype=bool)
    scores = check_scores(scores, member.shape)
    if decisions is not None and decisions.shape != member.shape:
        raise InvalidScores(f"decisions have shape {decisions.shape}; expected {member.shape}.")
    targets = [
        (scores[row : row + 1], member[row : row + 1], None if decisions is None else decisions[row : row + 1])
        for row in range(len(scores))
    ]
    rankings = [roc.Ranking.of(score, truth) for score, truth, _ in targets]
    alone = [
        [roc.operating_points(ranking, (fpr,), resamples, (seed, row))[0] for row, ranking in enumerate(rankings)]
        for fpr in fprs
    ]
    pooled = roc.Ranking.of(scores, member)
    if len(targets) == 1:
        points = [column[0] for column in alone]
    else:
        points = roc.operating_points(pooled, fprs, resamples, (seed, "pooled"))
    balanced = _balanced(decisions, member)
    return Metrics(
        tpr_at_fpr=points,
        auc=intervals.auc(scores, member),
        balanced_accuracy=balanced,
        advantage=advantage(balanced),
        true_positive_rate=_flagged(decisions, member, "no members"),
        false_positive_rate=_flagged(decisions, ~member, "no non-members"),
        oracle_balanced_accuracy=_oracle(scores, member),
        roc=[(intervals.rounded(fpr, DIGITS), intervals.rounded(tpr, DIGITS)) for fpr, tpr in roc.curve(pooled)],
        per_target=TargetSpread(
            auc=_spread([intervals.auc(score, truth) for score, truth, _ in targets]),
            balanced_accuracy=_spread([_balanced(decision, truth) for _, truth, decision in targets]),
            tpr_at_fpr=[_spread([point.tpr for point in column]) for column in alone],
        ),
    )


def check_scores(scores: Array, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return an attack's scores as float64. Raises InvalidScores with the problem if they are invalid."""
    try:
        array = np.asarray(scores)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidScores(f"scores are no array of numbers: {error}") from None
    if array.shape != tuple(shape):
        raise InvalidScores(f"scores have shape {array.shape}; expected {tuple(shape)}.")
    if array.dtype.kind not in "buif":
        raise InvalidScores(f"scores have dtype {array.dtype}; expected real numbers.")
    array = array.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        nans, first = int(np.isnan(array).sum()), tuple(int(i) for i in np.argwhere(bad)[0])
        where = first[0] if len(first) == 1 else first
        count = int(bad.sum())
        raise InvalidScores(
            f"{count} of {array.size} scores are not finite ({nans} NaN, {count - nans} infinite), "
            f"the first at {where}; expected finite numbers."
        )
    return array


def check_findings(findings: Any) -> dict[str, float]:
    """Return an attack's findings by name, as floats. Raises InvalidScores for non-finite numbers."""
    if not isinstance(findings, Mapping):
        raise InvalidScores(f"findings are {type(findings).__name__}; expected a mapping of names to numbers.")
    return {str(name): check_number(value, f"finding {name!r}") for name, value in findings.items()}


def check_number(value: Any, what: str) -> float:
    """Return a number as a float. Raises InvalidScores unless it is real and finite: for text, None, NaN, arrays."""
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "uif" or not np.isfinite(array):
        raise InvalidScores(f"{what} is {value!r}; expected a finite number.")
    return value if isinstance(value, intervals.Bounded) else float(array)


def best_threshold(scores: Array, member: Array) -> float:
    """Return the finite t for which `scores >= t` has the highest balanced accuracy.

    Scores and memberships of any one shape are pooled. t is midway between two neighbouring distinct scores, in the
    scores' own precision, or is the lowest score: then all are flagged. Of equally good thresholds the highest.
    Raises InvalidScores for invalid scores, CellFailed without members or without non-members.
    """
    member = np.asarray(member, dtype=bool)
    check_scores(scores, member.shape)
    if member.all() or not member.any():
        raise CellFailed("cannot calibrate a threshold: it takes scores of members and of non-members.")
    scores, member = np.ravel(scores), np.ravel(member)
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(member[order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the last of each run of ties
    hits, flagged = hits[last], last + 1
    gain = hits * int((~member).sum()) - (flagged - hits) * int(member.sum())  # integers: ties are exact
    best = int(np.argmax(gain))
    high = scores[last[best]]
    if best == len(last) - 1:
        return float(high)
    low = scores[last[best + 1]]
    middle = low / 2 + high / 2  # the sum of two large scores may overflow
    return float(middle if low < middle <= high else high)


def success(decisions: Array, member: Array) -> Success:
    """Count the flags of each example: R_in = hits_in / n_in is its TPR, R_out = hits_out / n_out its FPR."""
    return Success(
        hits_in=(decisions & member).sum(axis=0),
        n_in=member.sum(axis=0),
        hits_out=(decisions & ~member).sum(axis=0),
        n_out=(~member).sum(axis=0),
    )


def _balanced(decisions: Array | None, member: Array) -> Estimate:
    if decisions is None:
        return intervals.unavailable("the attack makes no decisions", member.size)
    return intervals.balanced_accuracy(decisions, member)


def advantage(balanced: Estimate) -> Estimate:
    """Return the advantage that corresponds to a balanced accuracy: 2 BA - 1."""
    if balanced.value is None or balanced.low is None or balanced.high is None:
        return balanced
    value, low, high = (2 * number - 1 for number in (balanced.value, balanced.low, balanced.high))
    return intervals.estimate(value, low, high, balanced.n, balanced.note)


def _flagged(decisions: Array | None, where: Array, none: str) -> Estimate:
    if decisions is None or not where.any():
        return intervals.unavailable(none if decisions is not None else "the attack makes no decisions")
    return intervals.accuracy(decisions, where)


def _oracle(scores: Array, member: Array) -> Estimate:
    """Return the balanced accuracy at the best threshold of each target in hindsight, averaged over targets."""
    mixed = member.any(axis=1) & ~member.all(axis=1)
    if not mixed.any():
        return intervals.balanced_accuracy(member, member)
    pairs = zip(scores[mixed], member[mixed], strict=True)
    decisions = np.stack([score >= best_threshold(score, truth) for score, truth in pairs])
    return intervals.balanced_accuracy(decisions, member[mixed], averaged=True)


def _spread(estimates: list[Estimate]) -> Spread:
    """Return the spread of one estimate per target."""
    values: list[tuple[float, float, float] | None] = []
    for one in estimates:
        if one.value is None or one.low is None or one.high is None:
            values.append(None)
            continue
        value, low, high = (intervals.rounded(number, DIGITS) for number in (one.value, one.low, one.high))
        values.append((value, low, high))
    found = np.array([one.value for one in estimates if one.value is not None])
    return Spread(
        values=values,
        mean=intervals.rounded(float(found.mean()), 9) if len(found) else None,
        sd=intervals.rounded(float(found.std(ddof=1)), 9) if len(found) > 1 else None,
    )
