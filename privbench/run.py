"""The grid, from components to records. Read this first.

    tasks x defenses   -> populations: M releases each, trained once, kept in the store      (population.py)
    x targets          -> evidence: what the attack's threat model declares, membership withheld  (evidence.py)
    x attacks          -> scores: (targets, examples)
                       -> record: metrics with intervals, provenance; JSON beside raw scores      (record.py)

One component that fails spoils only its own cells: they become records with status "failed" and a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from privbench import releases
from privbench.errors import CellFailed, PrivbenchError, UsageError
from privbench.population import Job, Population
from privbench.queries import check, queries_for, variants
from privbench.scoring import Cell, score

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from privbench.api import Dataset, Task
    from privbench.executors import Executor, Outcome
    from privbench.record import Record
    from privbench.store import Store


@dataclass(frozen=True)
class Grid:
    """What is to be run: every task x defense x attack, with M models of each (task, defense)."""

    tasks: Sequence[Any]
    defenses: Sequence[Any]
    attacks: Sequence[Any]
    models: int = 16
    targets: int | None = None
    """How many of the models take their turn as the target; None: all of them."""
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.models < 2 or self.models % 2:  # noqa: PLR2004
            raise UsageError(
                f"--models {self.models}: models come in complementary pairs; give an even number, 2 or more."
            )
        if self.targets is not None and not 1 <= self.targets <= self.models:
            raise UsageError(f"--targets {self.targets}: must lie between 1 and the number of models, {self.models}.")


class Listener(Protocol):
    """Whoever wants to see how a run is getting on."""

    def planned(self, plan: Plan) -> None:
        """Everything is known that is left to do."""

    def progress(self, job: int, done: float, stage: str) -> None:
        """One release has come so far."""

    def made(self, outcome: Outcome[Job]) -> None:
        """One release is in the store, or failed."""

    def scored(self, record: Record) -> None:
        """One cell has its record."""


@dataclass
class Plan:
    """The populations that a grid needs, and which of their releases are not in the store yet."""

    grid: Grid
    cells: list[Cell] = field(default_factory=list)
    populations: dict[Population, set[int]] = field(default_factory=dict)
    """Each with the numbers of queries that are asked of it."""

    def jobs(self) -> list[Job]:
        """Return the releases that are left to be made or queried."""
        return [job for each, queries in self.populations.items() for job in each.missing(sorted(queries))]

    def need(self, population: Population, queries: int) -> Population:
        """Add a population, or further queries to one that is there already."""
        self.populations.setdefault(population, set()).add(queries)
        return next(each for each in self.populations if each == population)


def plan(grid: Grid, store: Store) -> Plan:
    """Work out what a grid needs, without training anything. Raises UsageError for what cannot be run."""
    from privbench.plugins import resolve

    planned = Plan(grid)
    for task in grid.tasks:
        dataset = task.load()
        for defense in grid.defenses:
            for attack in grid.attacks:
                queries = _queries(attack, task, dataset)

                def population(of: Any, task: Task = task, dataset: Dataset = dataset, q: int = queries) -> Population:
                    return planned.need(Population(task, dataset, of, grid.models, grid.seed, grid.device, store), q)

                shadows = resolve("defense", "ce") if attack.needs.shadows == "undefended" else defense
                planned.cells.append(Cell(population(defense), population(shadows), attack, queries, grid.targets))
    for each in {job.population.task: job.population for job in planned.jobs()}.values():
        each.blueprint.model()  # a model that does not fit the data fails here, not in every worker
    return planned


def run(
    grid: Grid,
    store: Store,
    executor: Executor,
    *,
    out: Path | None = None,
    listener: Listener | None = None,
    command: str = "",
) -> Iterator[Record]:
    """Make the releases that are missing, attack them, and yield one record per cell, written to `out` as well."""
    from privbench.record import save

    planned = plan(grid, store)
    if listener:
        listener.planned(planned)
    failed = _make(planned.jobs(), executor, listener)
    for cell in planned.cells:
        reason = failed.get(cell.population) or failed.get(cell.shadows)
        record, scores, member = score(cell, reason=reason, command=command)
        if out is not None:
            save(record, out, scores, member)
        if listener:
            listener.scored(record)
        yield record


def _make(jobs: Sequence[Job], executor: Executor, listener: Listener | None) -> dict[Population, PrivbenchError]:
    """Make every missing release; return the populations of which one could not be made, with the reason."""
    failed: dict[Population, PrivbenchError] = {}
    progress = listener.progress if listener else None
    for outcome in executor.run(releases.make, jobs, progress):
        if outcome.error is not None:
            failed.setdefault(outcome.job.population, _named(outcome.job, outcome.error))
        if listener:
            listener.made(outcome)
    return failed


def _named(job: Job, error: PrivbenchError) -> PrivbenchError:
    return CellFailed(f"{job.population.defense.name} model {job.index}: {error}")


def _queries(attack: Any, task: Task, dataset: Dataset) -> int:
    """Return how many aligned queries per example an attack asks of a task. Raises BadOption where it cannot."""
    asked = attack.needs.queries
    if asked == "task":
        return queries_for(task.recipe, dataset.examples.is_image)
    queries = len(variants(asked))
    check(dataset.examples.x.shape[1:], queries)
    return queries
