"""Scoring: from a cell of the grid to a record.

The attack runs in a process that holds its evidence alone; its scores are measured in one that has run no component's
code. The record is written by the caller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from privbench.contracts.abilities import JudgesFindings
from privbench.contracts.attack import ReconstructionAttack
from privbench.contracts.needs import Needs
from privbench.contracts.threat import threat_model
from privbench.errors import CellFailed
from privbench.executors import Call
from privbench.grid.attacking import Attacked, Attacking, Judging, attack, judge, reconstruct
from privbench.grid.calls import Ready, now, own, result, serves
from privbench.grid.cell import Cell, inapplicable, needs_of, threshold_of, without_decisions
from privbench.grid.measuring import Deciding, Described, Describing, Measuring, describe, measure
from privbench.grid.reconstruction import evaluate
from privbench.population.lending import Lending
from privbench.population.served import answer
from privbench.population.traits import unmet
from privbench.records.files import images_sha256
from privbench.records.provenance import caught, component, failure, heading_of
from privbench.records.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from privbench.aliases import Array
    from privbench.executors import Outcome, Port, Servant
    from privbench.grid.calls import Steps

Place: TypeAlias = "tuple[int, int | None]"
"""A target and None, or a shadow that poses as a target, and the target for which it does."""


def score(cell: Cell, *, reason: Exception | None = None, command: str = "") -> tuple[Record, dict[str, Array]]:
    """Attack every target of a cell in this process; return its record, and its raw arrays.

    The releases are made already. The arrays are those for `selection.numbers`, or the result of
    `reconstruction.evaluate`. If a reason is given, or the attack fails or does not apply, the record says so and there
    are no arrays.
    """
    return now(scoring(cell, command=command, reason=reason))


def scoring(
    cell: Cell,
    *,
    command: str = "",
    reason: Exception | None = None,
    servant: Callable[[str], Servant] | None = None,
    known: dict[Any, Described] | None = None,
) -> Steps[tuple[Record, dict[str, Array]]]:
    """Return the steps from a cell to its record and raw arrays; see `score`.

    known: descriptions of populations from other cells of the run
    servant: returns a process for queries to releases of a component (`Pool.servant`); None: they are answered here
    """
    base = about(heading_of(cell.population, command), cell.attack, len(cell.target_indices), cell.queries)
    if cell.inapplicable:
        return base.sealed(status="n/a", reason=cell.inapplicable), {}
    if reason is None and cell.impossible:
        reason = CellFailed(cell.impossible)
    if reason is None:
        reason = yield Ready(frozenset({*cell.sources, cell.population.undefended}))
    if reason is not None:
        return base.sealed(**failure(reason)), {}
    with caught() as failed:
        if without := inapplicable(cell):
            return base.sealed(status="n/a", reason=without), {}
        described: Described = yield from _described(cell, {} if known is None else known)
        missed = unmet(cell.population.defense, described.facts)
        base = base.model_copy(update={**vars(described), "unmet": missed})
        steps = _reconstructed if cell.reconstructs else _membership
        found, raw = yield from steps(cell, servant)
        return base.sealed(**found), raw
    return base.sealed(**failed), {}


def _membership(cell: Cell, servant: Callable[[str], Servant] | None) -> Steps[tuple[dict[str, Any], dict[str, Array]]]:
    """Return the results of a membership attack for a record, and its raw arrays."""
    member = np.stack([cell.population.members(target) for target in cell.target_indices])
    attacked: Attacked = result((yield from attacking(cell, servant, attack)))
    findings: Any = attacked.findings
    if isinstance(cell.attack, JudgesFindings):
        call = Call(judge, Judging(cell.attack, attacked, member), serves(cell.attack), first=True)
        findings = result((yield from own(call, cell.attack)))
    measuring = Measuring(
        attacked.scores[: len(member)], member, deciding(cell, attacked.scores), cell.population.seed, findings
    )
    dataset = cell.population.dataset
    if len(dataset.canaries):
        measuring = replace(measuring, ordinary=dataset.is_ordinary, canary=dataset.is_canary, kind=dataset.canary_kind)
    measured = result((yield Call(measure, measuring, first=True)))
    return measured.found, measured.raw


def attacking(
    cell: Cell,
    servant: Callable[[str], Servant] | None,
    function: Callable[[Attacking, Port], Any],
    places: Sequence[Place] | None = None,
) -> Steps[Outcome[Any]]:
    """Return the steps to the outcome of the attack: `attack` or `reconstruct`, in these places.

    places: None: all targets, with the attack's findings, and then the pseudo-targets
    """
    population, needs = cell.population, cell.needs
    findings, places = (len(cell.target_indices), places_of(cell)) if places is None else (0, places)
    lending = Lending(population.store.temporary())
    options: dict[str, Any] = {}
    if servant is not None:
        options["ask"] = lambda query: servant(serves(population.task, population.defense)).call(answer, query)
    servers = [cell.server(target, calibrating_for=other, **options) for target, other in places]
    try:
        parcels = [cell.parcel(target, calibrating_for=other, lending=lending) for target, other in places]
        job = Attacking(cell.attack, tuple(parcels), findings, len(population.dataset.pool))
        parts = (cell.attack, population.task, population.defense) if needs.model or needs.training else (cell.attack,)
        call = Call(function, job, serves(*parts), first=True, answer=lambda asked: servers[asked[0]](asked[1]))
        outcome = yield from own(call, *parts)
    finally:
        lending.close()
    return outcome


def places_of(cell: Cell) -> list[Place]:
    """Return the targets of a cell, then the shadows that pose as targets."""
    return [*((target, None) for target in cell.target_indices), *((model, at) for at, model in cell.calibrating())]


def _described(cell: Cell, known: dict[Any, Described]) -> Steps[Described]:
    """Return the numbers of a cell's releases, and add them to the known ones."""
    population, key = cell.population, (cell.population, cell.queries)
    if key not in known:
        models = range(population.models)
        job = Describing(
            pool=tuple(population.filed(index, cell.queries, "pool") for index in models),
            test=tuple(population.filed(index, cell.queries, "test") for index in models),
            member=np.stack([population.members(index) for index in models]),
            ordinary=population.dataset.is_ordinary,
            facts=population.facts(),
            seconds=population.seconds(models),
            undefended_seconds=population.undefended.seconds(population.undefended.sound(models)),
        )
        known[key] = result((yield Call(describe, job, first=True)))
    return known[key]


def deciding(cell: Cell, scores: Array) -> Deciding:
    """Return what decisions are made with: the attack's threshold, or the scores of pseudo-targets.

    scores: (places, examples), as of `places_of`
    """
    natural = threshold_of(cell.attack)
    missing = without_decisions(cell.attack, cell.population.models)
    if natural is not None or missing:
        return Deciding(natural, missing)
    alone, count = cell.needs.shadows == "none", len(cell.target_indices)
    at = {pair: count + row for row, pair in enumerate(cell.calibrating())}
    if alone:
        at_model = {model: row for (_, model), row in at.items()}
        at_model |= {target: row for row, target in enumerate(cell.target_indices)}
    posing = []
    for target in cell.target_indices:
        models = cell.calibrators(target)
        rows = [at_model[model] if alone else at[target, model] for model in models]
        posing.append((np.concatenate(scores[rows]), np.concatenate([cell.population.members(m) for m in models])))
    return Deciding(None, "", tuple(posing))


def _reconstructed(
    cell: Cell, servant: Callable[[str], Servant] | None
) -> Steps[tuple[dict[str, Any], dict[str, Array]]]:
    """Return the results of a reconstruction attack for a record, and its raw arrays."""
    found, raw = yield from evaluate(cell, lambda each: attacking(each, servant, reconstruct))
    return {"reconstruction": found, "scores_sha256": images_sha256(raw["images"])}, raw


def about(heading: Mapping[str, Any], attack: Any, targets: int, queries: int | None = None) -> Record:
    """Return a record without results.

    queries: number of queries for each example; None: what the attack says of it
    """
    try:
        needs = needs_of(attack)
    except CellFailed:  # the record says so: see `score`
        needs = Needs(answers="none")
    return Record(
        **heading,
        family="reconstruction" if isinstance(attack, ReconstructionAttack) else "membership",
        attack=component("attack", attack),
        threat_model=threat_model(needs if queries is None else replace(needs, queries=queries)),
        targets=targets,
        shadows=heading["models"] - 2 if needs.shadows != "none" else 0,
    )
