"""Plan of a run: the populations that a grid needs, and the cells that use them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from privbench import seeds
from privbench.errors import BadOption, CellFailed, PrivbenchError, UsageError, blamed, note
from privbench.grid import declared
from privbench.grid.calls import apart
from privbench.grid.cell import Cell, inapplicable, needs_of, without_shadows
from privbench.grid.loading import Failures, first_of, load_all
from privbench.plugins import registration
from privbench.population.fixed import fixed
from privbench.population.membership import partner
from privbench.population.population import Job, Population
from privbench.population.queries import check, queries_for, variants
from privbench.population.released import ReleasedShadows
from privbench.population.traits import transforms_inputs, why_not_reused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privbench.contracts.needs import Needs
    from privbench.contracts.task import Blueprint, Task
    from privbench.data.dataset import Dataset
    from privbench.store.store import Store


@dataclass(frozen=True)
class Grid:
    """The grid to run: every task x defense x attack, with M models of each (task, defense)."""

    tasks: Sequence[Any]
    defenses: Sequence[Any]
    attacks: Sequence[Any]
    models: int = 16
    targets: int | None = None
    """Number of models used as targets; None: all of them."""
    seed: int = 0
    device: str = "cpu"
    salt: str = ""
    """Salt of the halves, trainings and evidence of all cells: empty (public), or 32 hexadecimal digits."""
    fixed: bool = False
    """Whether all models have the same members, for audits with members=fixed alone, and need not come in pairs."""

    def __post_init__(self) -> None:
        for kind, components in (("task", self.tasks), ("defense", self.defenses), ("attack", self.attacks)):
            registration.check(kind, components)
        if self.fixed and self.attacks:
            raise UsageError("Models that all have the same members are for audits; attacks take halves of the pool.")
        if self.fixed and self.models < 2:  # noqa: PLR2004
            raise UsageError(f"--models {self.models}: give 2 or more, the trainings of the same members.")
        if not self.fixed and (self.models < 2 or self.models % 2):  # noqa: PLR2004
            raise UsageError(
                f"--models {self.models}: models come in complementary pairs; give an even number, 2 or more."
            )
        if self.targets is not None and not 1 <= self.targets <= self.models:
            raise UsageError(f"--targets {self.targets}: must lie between 1 and the number of models, {self.models}.")
        if self.salt not in ("", seeds.salt_of(self.salt)):
            raise UsageError(f"Grid(salt={self.salt!r}): give what privbench.seeds.salt_of({self.salt!r}) returns.")


@dataclass
class Plan:
    """The populations that a grid needs, and their releases that are missing in the store."""

    grid: Grid
    cells: list[Cell] = field(default_factory=list)
    populations: dict[Population, set[int]] = field(default_factory=dict)
    """Each with its numbers of queries."""
    later: dict[Population, set[int]] = field(default_factory=dict)
    """The same for populations that depend on releases of the others."""
    unusable: Failures = field(default_factory=dict)

    @property
    def waves(self) -> tuple[dict[Population, set[int]], ...]:
        """Populations that can be made in parallel; each wave after the one before."""
        return (self.populations, self.later)

    @property
    def models(self) -> int:
        """Total number of releases of all populations, including those in the store."""
        populations = (each for wave in self.waves for each in wave if each.inputs == "original")
        return sum(each.models - len(each.skipped) for each in populations)

    def jobs(self, *waves: Mapping[Population, set[int]]) -> list[Job]:
        """Return the releases that remain to be made or queried, of some waves or of all."""
        populations = [item for wave in waves or self.waves for item in wave.items()]
        return [job for each, queries in populations for job in each.missing(sorted(queries))]

    def given(self, store: Store, timeout: float) -> Iterator[Population]:
        """Yield the releases of each task and defense; a task's data are loaded once.

        timeout: as of `load_all`, whose errors are raised, and which tells the tasks that are unusable
        """
        grid = self.grid
        declared.try_all({"attack": grid.attacks, "defense": grid.defenses}, timeout)
        found, self.unusable = load_all(grid.tasks, timeout)
        for task, dataset in found:
            for defense in grid.defenses:
                each = Population(task, dataset, defense, grid.models, grid.seed, grid.device, store, salt=grid.salt)
                yield fixed(each) if grid.fixed else each

    def give_up(self, task: Task, why: PrivbenchError) -> None:
        """Make nothing of a task, and fail its cells, except those that do not apply anyway."""
        for wave in self.waves:
            for population in [each for each in wave if each.task == task]:
                del wave[population]
        self.cells = [
            replace(each, impossible=each.impossible or str(why)) if each.population.task == task else each
            for each in self.cells
        ]

    def need(self, population: Population, queries: int) -> Population:
        """Add a population, or further queries to an existing one."""
        builds_on_others = population.inputs != "original" or isinstance(population.defense, ReleasedShadows)
        wave = self.later if builds_on_others else self.populations
        wave.setdefault(population, set()).add(queries)
        return next(each for each in wave if each == population)


def plan(grid: Grid, store: Store, *, timeout: float = 0.0) -> Plan:
    """Determine the requirements of a grid, without training. Raises UsageError if no cell of it can be run.

    timeout: seconds after which the loading of a task that is not privbench's own is stopped; 0: never
    """
    planned = Plan(grid)
    for population in planned.given(store, timeout):
        why = unfit(population)
        planned.cells += [_cell(planned, population, attack, why) for attack in grid.attacks]
    if planned.cells and all(cell.impossible for cell in planned.cells):
        first = planned.cells[0]
        component = first.population.defense if unfit(first.population) else first.attack
        raise UsageError(f"{component.name}: {first.impossible.removeprefix(f'{component.name}: ')}")
    _build_all(planned)
    return planned


def _build_all(planned: Plan) -> None:
    """Build a model of each task: one that does not fit the data fails here, and not in every worker.

    Raises UsageError for such a model, and the first error if no task is left.
    """
    failed: Failures = {}
    for each in {job.population.task: job.population for job in planned.jobs()}.values():
        try:
            apart(_build, (each.task, each.dataset.shape, each.dataset.classes), each.task)
        except UsageError:  # noqa: PERF203 - the others are built
            raise
        except PrivbenchError as error:
            note(error)
            failed[each.task] = error
    if failed and len(failed) + len(planned.unusable) == len(planned.grid.tasks):
        raise first_of(failed)
    for task, why in failed.items():
        planned.give_up(task, why)


def unfit(population: Population) -> str:
    """Return why a population cannot be made: its defense declares nothing, or has no model for the task; else ""."""
    try:
        declared.check_traits(population.defense)
        if population.net.defense is None or population.complete:
            return ""
        job = (population.task, population.defense, population.blueprint, population.seed)
        return apart(_unfit, job, population.task, population.defense)
    except CellFailed as error:
        note(error)
        return str(error)


def _build(job: tuple[Task, tuple[int, ...], int], _port: object) -> None:
    task, shape, classes = job
    with blamed(task), seeds.seeded(0, "empty"):
        task.network(shape, classes)


def _unfit(job: tuple[Task, Any, Blueprint, int], _port: object) -> str:
    task, defense, blueprint, seed = job
    with blamed(task), seeds.seeded(seed, "empty"):
        blueprint.model()  # a model that does not fit the data is not the defense's error
    try:
        with blamed(defense), seeds.seeded(seed, "empty"):
            defense.empty(blueprint)
    except PrivbenchError as error:
        note(error)
        return str(error)
    return ""


def _cell(planned: Plan, population: Population, attack: Any, why: str) -> Cell:
    """Return one cell, and add its requirements to the plan: none if the attack cannot succeed.

    why: the reason for which the population cannot be made, or ""
    """
    cell = Cell(population, attack, 1, planned.grid.targets, attacked=population, shadows=(population,))
    try:
        declared.check_traits(population.defense)
        needs = needs_of(attack)
    except CellFailed as error:
        note(error)
        return replace(cell, impossible=str(error))
    cell = replace(cell, queries=_queries(needs, population.task, population.dataset))
    cell = replace(cell, inapplicable=_inapplicable(cell, needs))
    if not cell.inapplicable:
        cell = replace(cell, impossible=why or without_shadows(attack, population.models))
    return cell if cell.inapplicable or cell.impossible else _with_populations(planned, cell, needs)


def _inapplicable(cell: Cell, needs: Needs) -> str:
    """Return why an attack does not apply to a defense or a task, if known before training."""
    population, attack = cell.population, cell.attack
    if needs.inputs == "transformed" and needs.shadows in ("undefended", "released"):
        raise BadOption(f"{attack.name!r}: {needs.shadows} shadows do not transform inputs; use adaptive ones.")
    if needs.inputs == "transformed" and not transforms_inputs(population.defense):
        return f"{population.defense.name} does not transform its inputs"
    return inapplicable(cell) or (why_not_reused(population.defense) if needs.shadows == "released" else "")


def _with_populations(planned: Plan, cell: Cell, needs: Needs) -> Cell:
    """Return a cell with its populations, which are added to the plan."""
    queries = cell.queries
    population = planned.need(cell.population, queries)
    cell = replace(cell, population=population, attacked=population, shadows=(population,))
    if needs.inputs == "transformed":
        attacked = planned.need(replace(population, inputs="transformed"), queries)
        return replace(cell, attacked=attacked, shadows=(attacked,))
    if needs.shadows == "undefended":
        return replace(cell, shadows=(planned.need(population.undefended, queries),))
    if needs.shadows == "released":
        reusing = [
            replace(population, defense=ReleasedShadows(population, target), skipped=(target, partner(target)))
            for target in cell.target_indices
        ]
        return replace(cell, shadows=tuple(planned.need(each, queries) for each in reusing))
    return cell


def _queries(needs: Needs, task: Task, dataset: Dataset) -> int:
    """Return the number of aligned queries per example of an attack on a task. Raises BadOption if unsupported."""
    asked = needs.queries
    if asked == "task":
        return queries_for(task.recipe, dataset.examples.is_image)
    queries = len(variants(asked))
    check(dataset.examples.x.shape[1:], queries)
    return queries
