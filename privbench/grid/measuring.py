"""Measuring: from scores and answers to the numbers of a record. This runs in a process without components' code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.errors import InvalidScores, one_line
from privbench.grid.cell import CALIBRATORS
from privbench.grid.costs import cost
from privbench.records.claims import of_record as claims_of_record
from privbench.records.files import scores_sha256
from privbench.records.parts import Canaries, PerExample, Utility
from privbench.records.record import PER_EXAMPLE_LIMIT
from privbench.stats import intervals, metrics, roc
from privbench.stats.intervals import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privbench.aliases import Array
    from privbench.contracts.answers import Answers
    from privbench.executors import Port
    from privbench.records.parts import Cost


@dataclass(frozen=True)
class Deciding:
    """How an attack decides."""

    threshold: float | None
    """The attack's own."""
    undecided: str = ""
    """Why there are no decisions."""
    posing: tuple[tuple[Array, Array], ...] = ()
    """Scores and memberships of each target's pseudo-targets, without a threshold of the attack's own."""


@dataclass(frozen=True)
class Measuring:
    """Scores and the truth, (targets, examples) each."""

    scores: Array
    member: Array
    deciding: Deciding
    seed: int
    findings: Sequence[Mapping[str, float]] = ()
    """Of each target."""
    ordinary: Array | None = None
    """(examples,) bool, of a pool with canaries."""
    canary: Array | None = None
    kind: str = ""
    """Kind of the canaries."""


@dataclass(frozen=True)
class Measured:
    """Numbers of a record, and its raw arrays."""

    found: dict[str, Any]
    raw: dict[str, Array]


def measure(job: Measuring, _port: Port | None = None) -> Measured:
    """Return what scores, memberships and decisions add to a record. Raises InvalidScores.

    All of it is checked here, too: the process of an attack may send anything.
    """
    metrics.check_scores(job.scores, job.member.shape)
    job = replace(job, findings=check_findings(job.findings, len(job.member)))
    return measured(job, *decide(job.scores, job.deciding))


def measured(job: Measuring, decisions: Array | None, threshold: str) -> Measured:
    """Return the same, given (targets, examples) decisions and the source of the threshold."""
    common = np.ones(job.member.shape[1], dtype=bool) if job.ordinary is None else job.ordinary
    decided = None if decisions is None else decisions[:, common]
    found = {
        "metrics": metrics.evaluate(job.scores[:, common], job.member[:, common], decided, seed=job.seed),
        "canaries": _canaries(job),
        "per_example": _per_example(decisions, job.member),
        "scores_sha256": scores_sha256(job.scores, job.member),
        "threshold": threshold,
        "findings": mean_findings(job.findings),
    }
    raw = {"scores": job.scores, "member": job.member}
    raw |= {} if decisions is None else {"decisions": decisions}
    raw |= {} if job.canary is None else {"ordinary": common, "canary": job.canary}
    return Measured(found, raw)


def decide(scores: Array, deciding: Deciding) -> tuple[Array | None, str]:
    """Return (targets, examples) decisions at the attacker's threshold, and the source of the threshold."""
    if deciding.threshold is not None:
        return scores >= deciding.threshold, f"the attack's own, {deciding.threshold:g}"
    if deciding.undecided:
        return None, deciding.undecided
    decided = [row >= metrics.best_threshold(*posing) for row, posing in zip(scores, deciding.posing, strict=True)]
    return np.stack(decided), f"calibrated on {CALIBRATORS} shadow models"


def check_findings(findings: Any, targets: int) -> list[dict[str, float]]:
    """Return the findings of each target, or none. Raises InvalidScores."""
    if not isinstance(findings, list | tuple) or len(findings) not in (0, targets):
        raise InvalidScores(f"findings are no list of {targets} mappings, one for each target.")
    return [{name: _bounded(name, value) for name, value in metrics.check_findings(each).items()} for each in findings]


def _bounded(name: str, value: float) -> float:
    """Return a number, made again if it declares bounds."""
    if not isinstance(value, intervals.Bounded):
        return value
    try:
        number, least, most, of, alone = value.__getnewargs__()
        own = None if alone is None else Estimate.model_validate(Estimate.model_dump(alone))
        return intervals.Bounded(number, float(least), float(most), max(1, int(of)), own)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidScores(f"finding {name!r} has invalid bounds: {one_line(error)}") from error


def mean_findings(findings: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Return an attack's own numbers: the mean over targets, and what another target would change."""
    found: dict[str, list[float]] = {}
    for values in findings:
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: intervals.mean_of(values) for name, values in found.items()}


@dataclass(frozen=True)
class Describing:
    """Answers of releases, and what they state, whatever the attack."""

    pool: tuple[Answers, ...]
    test: tuple[Answers, ...]
    member: Array
    """(models, examples) bool."""
    ordinary: Array
    facts: Sequence[Mapping[str, float]]
    seconds: Array
    """(models,): of each release."""
    undefended_seconds: Array


@dataclass(frozen=True)
class Described:
    """Numbers of the releases in a record."""

    utility: Utility
    cost: Cost | None
    facts: Any = field(default_factory=dict)
    claims: Any = None


def describe(job: Describing, _port: Port | None = None) -> Described:
    """Return accuracies on members, non-members of the pool, and test examples; costs, facts and claims."""

    def correct(answered: tuple[Answers, ...]) -> Array:
        return np.stack([each.logits[:, 0].argmax(axis=-1) == each.labels for each in answered])

    pool, test, common = correct(job.pool), correct(job.test), job.ordinary
    utility = Utility(
        train_accuracy=intervals.accuracy(pool[:, common], job.member[:, common]),
        nonmember_accuracy=intervals.accuracy(pool[:, common], ~job.member[:, common]),
        test_accuracy=intervals.accuracy(test),
        test_accuracy_sd=float(test.mean(axis=1).std(ddof=1)),
    )
    facts, claims = claims_of_record(job.facts)
    return Described(utility, cost(job.seconds, job.undefended_seconds), facts, claims)


def _canaries(job: Measuring) -> Canaries | None:
    """Return the results on canaries alone; None if the pool has none."""
    if job.canary is None:
        return None
    scores, member = job.scores[:, job.canary], job.member[:, job.canary]
    points = roc.operating_points(
        roc.Ranking.of(scores, member), metrics.FPRS, metrics.RESAMPLES, (job.seed, "canaries")
    )
    return Canaries(kind=job.kind, count=int(job.canary.sum()), tpr_at_fpr=points, auc=intervals.auc(scores, member))


def _per_example(decisions: Array | None, member: Array) -> PerExample | None:
    """Return how often each example was flagged, of (targets, examples); None without decisions, or of large pools."""
    if decisions is None or member.shape[1] > PER_EXAMPLE_LIMIT:
        return None
    success = metrics.success(decisions, member)

    def trials(counts: Array) -> int | list[int]:
        return int(counts[0]) if (counts == counts[0]).all() else [int(count) for count in counts]

    return PerExample(
        member_hits=success.hits_in.tolist(),
        member_trials=trials(success.n_in),
        nonmember_hits=success.hits_out.tolist(),
        nonmember_trials=trials(success.n_out),
    )
