"""Making of a plan's releases: executors train missing ones while the caller attacks those that are ready."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from privbench.errors import ENDS_THE_RUN, CellFailed, PrivbenchError, note
from privbench.population import releases
from privbench.population.released import ReleasedShadows

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from typing_extensions import Self

    from privbench.executors import Executor, Outcome
    from privbench.grid.cell import Cell
    from privbench.grid.plan import Plan
    from privbench.population.population import Job, Population
    from privbench.records.record import Record


class Listener(Protocol):
    """Callbacks that report a run's progress."""

    def planned(self, plan: Plan) -> None:
        """Everything is known that is left to do."""

    def progress(self, job: int, done: float, stage: str) -> None:
        """One release has come so far."""

    def made(self, outcome: Outcome[Job]) -> None:
        """One release is in the store, or failed."""

    def scoring(self, cell: Cell, done: float) -> None:
        """One cell has come so far, in [0, 1]."""

    def scored(self, record: Record) -> None:
        """One cell has its record."""


class Making:
    """Makes all missing releases of a plan, wave after wave. It starts immediately; use as a context manager."""

    def __init__(self, planned: Plan, executor: Executor, listener: Listener | None) -> None:
        self.failed: dict[Population, PrivbenchError] = {}
        """Failed populations, with the reason."""
        self._planned, self._executor, self._listener = planned, executor, listener
        self._open = {each for wave in planned.waves for each in wave}
        self._waves = iter(planned.waves)
        self._first = 0
        self._jobs: list[Job] = []
        self._left: Counter[Population] = Counter()
        """Number of unfinished releases for each population of this wave."""
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outcomes.close()

    def wait_for(self, populations: Collection[Population]) -> None:
        """Continue until no release of some populations remains to be made; others than the plan's are ignored."""
        while not self._open.isdisjoint(populations):
            outcome = next(self._outcomes, None)
            if outcome is None:
                self._begin()
            else:
                self._hear(outcome)

    def why_not(self, populations: Iterable[Population]) -> PrivbenchError | None:
        """Return why one of some populations failed; None if all of them are ready."""
        return next((self.failed[each] for each in populations if each in self.failed), None)

    def _begin(self) -> None:
        """Start the next wave, without the populations that depend on failed ones."""
        self._open -= set(self._left)
        self._first += len(self._jobs)
        wave = next(self._waves, {})
        self._jobs = self._planned.jobs({each: wave[each] for each in wave if not _rests_on(each, self.failed)})
        self._left = Counter(job.population for job in self._jobs)
        self._open -= set(wave) - set(self._left)
        self._outcomes: Generator[Outcome[Job], None, None] = self._executor.run(
            releases.make, self._jobs, self._progress
        )

    def _hear(self, outcome: Outcome[Job]) -> None:
        population = outcome.job.population
        if isinstance(outcome.error, ENDS_THE_RUN):
            raise outcome.error
        if outcome.error is not None:
            if population not in self.failed:
                note(outcome.error)
            self.failed.setdefault(population, _named(outcome.job, outcome.error))
        self._left[population] -= 1
        if not self._left[population]:
            self._open.discard(population)
        if self._listener:
            self._listener.made(replace(outcome, index=self._first + outcome.index))

    def _progress(self, job: int, done: float, stage: str) -> None:
        if self._listener:
            name = self._jobs[job].population.defense.name
            self._listener.progress(self._first + job, done, f"{name}: {stage}")


def _rests_on(population: Population, failed: Collection[Population]) -> bool:
    """Return whether a population depends on releases of a failed one."""
    defense = population.defense
    base = defense.population if isinstance(defense, ReleasedShadows) else replace(population, inputs="original")
    return base in failed


def _named(job: Job, error: PrivbenchError) -> PrivbenchError:
    return CellFailed(f"{job.population.defense.name} model {job.index}: {error}")
