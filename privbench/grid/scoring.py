"""Scoring: from a cell of the grid to a record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.contracts.abilities import HasFindings
from privbench.contracts.needs import Needs
from privbench.contracts.threat import threat_model
from privbench.errors import CellFailed, blamed
from privbench.grid.cell import Cell, inapplicable
from privbench.grid.costs import cost
from privbench.grid.reconstruction import evaluate
from privbench.records.claims import of_record as claims_of_record
from privbench.records.files import images_sha256, scores_sha256
from privbench.records.parts import Canaries, PerExample, Utility
from privbench.records.provenance import caught, component, failure, heading_of
from privbench.records.record import PER_EXAMPLE_LIMIT, Record
from privbench.stats import intervals, metrics, roc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence
    from privbench.data.dataset import Dataset
    from privbench.population.population import Population
    from privbench.stats.intervals import Estimate


def score(
    cell: Cell, *, reason: Exception | None = None, command: str = "", report: Callable[[float], None] | None = None
) -> tuple[Record, dict[str, Array]]:
    """Attack every target of a cell; return its record, and its raw arrays.

    The arrays are those for `selection.numbers`, or the result of `reconstruction.evaluate`. If a reason is given, or
    the attack fails or does not apply, the record says so and there are no arrays. report: called with the completed
    share
    """
    population, base = cell.population, _about(cell, command)
    if cell.inapplicable:
        return base.sealed(status="n/a", reason=cell.inapplicable), {}
    if reason is None and cell.impossible:
        reason = CellFailed(cell.impossible)
    if reason is not None:
        return base.sealed(**failure(reason)), {}
    with caught() as failed:
        if without := inapplicable(cell):
            return base.sealed(status="n/a", reason=without), {}
        utility, spent = _utility(population, cell.queries), cost(population)
        facts, claims = claims_of_record(population.facts())
        base = base.model_copy(update={"utility": utility, "cost": spent, "facts": facts, "claims": claims})
        found, raw = _reconstructed(cell) if cell.reconstructs else _membership(cell, report)
        return base.sealed(**found), raw
    return base.sealed(**failed), {}


def _membership(cell: Cell, report: Callable[[float], None] | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the results of a membership attack for a record, and its raw arrays."""
    member = np.stack([cell.population.members(target) for target in cell.target_indices])
    scores = np.empty(member.shape)
    for row, target in enumerate(cell.target_indices):
        scores[row] = cell.scores(target)
        if report:
            report((row + 1) / len(scores))
    decisions, threshold = cell.decisions(scores)
    found, raw = measured(scores, member, decisions, cell.population.seed, cell.population.dataset)
    evidence = (cell.evidence(target) for target in cell.target_indices)
    return {**found, "threshold": threshold, "findings": findings(cell.attack, evidence, scores, member)}, raw


def measured(
    scores: Array, member: Array, decisions: Array | None, seed: int, dataset: Dataset | None = None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what scores, memberships and decisions add to a record, and its raw arrays.

    All are (targets, examples). dataset: says which examples are canaries; without it none is.
    """
    common = np.ones(member.shape[1], dtype=bool) if dataset is None else dataset.is_ordinary
    decided = None if decisions is None else decisions[:, common]
    found = {
        "metrics": metrics.evaluate(scores[:, common], member[:, common], decided, seed=seed),
        "canaries": None if dataset is None else _canaries(dataset, scores, member, seed),
        "per_example": _per_example(decisions, member),
        "scores_sha256": scores_sha256(scores, member),
    }
    raw = {"scores": scores, "member": member}
    raw |= {} if decisions is None else {"decisions": decisions}
    raw |= {"ordinary": common, "canary": dataset.is_canary} if dataset is not None and len(dataset.canaries) else {}
    return found, raw


def _canaries(dataset: Dataset, scores: Array, member: Array, seed: int) -> Canaries | None:
    """Return the results on canaries alone; None if the pool has none."""
    if not len(dataset.canaries):
        return None
    scores, member = scores[:, dataset.is_canary], member[:, dataset.is_canary]
    points = roc.operating_points(roc.Ranking.of(scores, member), metrics.FPRS, metrics.RESAMPLES, (seed, "canaries"))
    return Canaries(
        kind=dataset.canary_kind,
        count=len(dataset.canaries),
        tpr_at_fpr=points,
        auc=intervals.auc(scores, member),
    )


def _reconstructed(cell: Cell) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the results of a reconstruction attack for a record, and its raw arrays."""
    found, raw = evaluate(cell)
    return {"reconstruction": found, "scores_sha256": images_sha256(raw["images"])}, raw


def findings(attack: Any, evidence: Iterable[Evidence], scores: Array, member: Array) -> dict[str, Estimate]:
    """Return the attack's own numbers: the mean over targets, and what another target would change."""
    if not isinstance(attack, HasFindings):
        return {}
    found: dict[str, list[float]] = {}
    for of_target, its_scores, its_members in zip(evidence, scores, member, strict=True):
        with blamed(attack):
            values = attack.findings(of_target, its_scores, its_members)
        for name, value in metrics.check_findings(values).items():
            found.setdefault(name, []).append(value)
    return {name: intervals.mean_of(values) for name, values in found.items()}


def _about(cell: Cell, command: str) -> Record:
    """Return a record without results."""
    population = cell.population
    try:
        needs = cell.needs
    except CellFailed:  # the record says so: see `score`
        needs = Needs(answers="none")
    return Record(
        **heading_of(population, command),
        family="reconstruction" if cell.reconstructs else "membership",
        attack=component("attack", cell.attack),
        threat_model=threat_model(replace(needs, queries=cell.queries)),
        targets=len(cell.target_indices),
        shadows=population.models - 2 if needs.shadows != "none" else 0,
    )


def _utility(population: Population, queries: int) -> Utility:
    """Return accuracies on members, non-members of the pool, and test examples."""

    def correct(role: str) -> Array:
        labels = population.dataset.shared(role).y
        answers = (population.answers(index, queries, role).logits[:, 0] for index in range(population.models))
        return np.stack([logits.argmax(axis=-1) == labels for logits in answers])

    member = np.stack([population.members(index) for index in range(population.models)])
    pool, test = correct("pool"), correct("test")
    common = population.dataset.is_ordinary
    return Utility(
        train_accuracy=intervals.accuracy(pool[:, common], member[:, common]),
        nonmember_accuracy=intervals.accuracy(pool[:, common], ~member[:, common]),
        test_accuracy=intervals.accuracy(test),
        test_accuracy_sd=float(test.mean(axis=1).std(ddof=1)),
    )


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
