"""Scoring: from a cell of the grid to a record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.contracts.needs import Needs
from privbench.contracts.threat import threat_model
from privbench.errors import ENDS_THE_RUN, CellFailed, blamed
from privbench.grid.cell import Cell, inapplicable
from privbench.grid.costs import cost
from privbench.grid.reconstruction import evaluate
from privbench.records.claims import of_record as claims_of_record
from privbench.records.files import images_sha256, scores_sha256, sealed
from privbench.records.parts import Canaries, PerExample, Utility
from privbench.records.provenance import component, data_of, environment, failure, now
from privbench.records.record import PER_EXAMPLE_LIMIT, Record
from privbench.stats import intervals, metrics, roc

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from privbench.data.dataset import Dataset
    from privbench.population.population import Population
    from privbench.stats.intervals import Estimate

    Array = npt.NDArray[Any]


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
        return sealed(base, status="n/a", reason=cell.inapplicable), {}
    if reason is None and cell.impossible:
        reason = CellFailed(cell.impossible)
    if reason is not None:
        return sealed(base, **failure(reason)), {}
    try:
        if without := inapplicable(cell):
            return sealed(base, status="n/a", reason=without), {}
        utility, spent = _utility(population, cell.queries), cost(population)
        facts, claims = claims_of_record(population.facts())
        base = base.model_copy(update={"utility": utility, "cost": spent, "facts": facts, "claims": claims})
        found, raw = _reconstructed(cell) if cell.reconstructs else _membership(cell, report)
    except ENDS_THE_RUN:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever goes wrong here, SystemExit too, the other cells go on
        return sealed(base, **failure(error)), {}
    return sealed(base, **found), raw


def _membership(cell: Cell, report: Callable[[float], None] | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the results of a membership attack for a record, and its raw arrays."""
    member = np.stack([cell.population.members(target) for target in cell.target_indices])
    scores = np.empty(member.shape)
    for row, target in enumerate(cell.target_indices):
        scores[row] = cell.scores(target)
        if report:
            report((row + 1) / len(scores))
    decisions, threshold = cell.decisions(scores)
    dataset, seed = cell.population.dataset, cell.population.seed
    common = dataset.is_ordinary
    decided = None if decisions is None else decisions[:, common]
    found = {
        "metrics": metrics.evaluate(scores[:, common], member[:, common], decided, seed=seed),
        "canaries": _canaries(dataset, scores, member, seed),
        "findings": _findings(cell, scores, member),
        "threshold": threshold,
        "per_example": per_example(decisions, member),
        "scores_sha256": scores_sha256(scores, member),
    }
    raw = {"scores": scores, "member": member}
    raw |= {} if decisions is None else {"decisions": decisions}
    raw |= {"ordinary": common, "canary": dataset.is_canary} if len(dataset.canaries) else {}
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


def _findings(cell: Cell, scores: Array, member: Array) -> dict[str, Estimate]:
    """Return the attack's additional results: the mean over targets, with an interval for another target."""
    find = getattr(cell.attack, "findings", None)
    if find is None:
        return {}
    found: dict[str, list[float]] = {}
    for row, target in enumerate(cell.target_indices):
        with blamed(cell.attack):
            values = find(cell.evidence(target), scores[row], member[row])
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
        family="reconstruction" if cell.reconstructs else "membership",
        task=component("task", population.task),
        data=data_of(population.dataset),
        defense=component("defense", population.defense),
        attack=component("attack", cell.attack),
        threat_model=threat_model(replace(needs, queries=cell.queries)),
        models=population.models,
        targets=len(cell.target_indices),
        shadows=population.models - 2 if needs.shadows != "none" else 0,
        seed=population.seed,
        salt=population.salt,
        device=population.device,
        status="ok",
        command=command,
        environment=environment(population.device),
        created=now(),
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


def per_example(decisions: Array | None, member: Array) -> PerExample | None:
    """Return how often each example was flagged, of (targets, examples); None without decisions or for large pools."""
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
