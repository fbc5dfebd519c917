"""Making of a plan's releases: executors train missing ones while the caller attacks those that are ready."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from privbench.errors import ENDS_THE_RUN, CellFailed, NotMade, PrivbenchError, note
from privbench.executors import Call, Outcome, inline
from privbench.grid.calls import BUILT_IN, Here, Ready, make, serves
from privbench.population.released import ReleasedShadows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from typing_extensions import Self

    from privbench.executors import Executor
    from privbench.grid.calls import Steps
    from privbench.grid.cell import Cell
    from privbench.grid.plan import Plan
    from privbench.population.population import Job, Population
    from privbench.records.record import Record


T = TypeVar("T")
LATER = object()
"""The answer of steps that must wait."""
TRAINING = (
    "privbench.grid",
    "privbench.population.releases",
    "privbench.learn.training",
    "privbench.plugins.builtins",
    "privbench.builtin.tasks",
    "safetensors.numpy",
    "privbench.population.identity:prepare",
)
"""What the training of releases needs, and processes of other components most likely need."""
PLUGINS = ("privbench.store.outside:distributions",)
"""What the training of others' releases needs besides."""


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

    def scored(self, cell: Cell, record: Record) -> None:
        """One cell has its record."""


class Running(Generic[T]):
    """Steps that have begun; see `calls.py`."""

    def __init__(self, steps: Steps[T], report: Callable[[float, str], None] | None) -> None:
        self.steps, self.report = steps, report
        self.result: T | None = None
        self.begun = self.done = False
        self.serves = ""
        """Of the call that it waits for."""


class Making:
    """Makes all missing releases of a plan, wave after wave, and works on the steps that are started meanwhile.

    Use as a context manager, which ends all work.
    """

    def __init__(self, planned: Plan, executor: Executor, listener: Listener | None) -> None:
        self.failed: dict[Population, PrivbenchError] = {}
        """Failed populations, with the reason."""
        self._planned, self._executor, self._listener = planned, executor, listener
        self._open = {each for wave in planned.waves for each in wave}
        self._waves = iter(planned.waves)
        self._jobs: dict[int, Job] = {}
        """Calls that make releases, by their index."""
        self._numbers: dict[int, int] = {}
        """Position of each of these among all jobs of the plan."""
        self._left: Counter[Population] = Counter()
        """Number of unfinished releases for each population of this wave."""
        self._calls: dict[int, Running[Any]] = {}
        """Steps that wait for a call, by its index."""
        self._waiting: list[tuple[Ready, Running[Any]]] = []
        """Steps that wait for releases."""

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.pool = self._stack.enter_context(self._executor.pool(self._progress))
        jobs = self._planned.jobs()
        if jobs or any(serves(cell.attack) for cell in self._planned.cells):
            self.pool.load(TRAINING)
        if any(serves(job.population.task, job.population.defense) for job in jobs):
            self.pool.load(PLUGINS)
        self._outcomes = self.pool.outcomes()
        self._begin()
        return self

    def __exit__(self, *error: object) -> None:
        self._outcomes.close()
        for _, running in self._waiting:
            running.steps.close()
        for running in self._calls.values():
            running.steps.close()
        self._stack.__exit__(None, None, None)

    def start(self, steps: Steps[T], report: Callable[[float, str], None] | None = None) -> Running[T]:
        """Begin steps, which then proceed whenever the caller waits for anything.

        report: called with the completed share of a call, and its stage
        """
        running = Running(steps, report)
        self._resume(running, None)
        return running

    def until(self, running: Running[T]) -> T:
        """Return the result of steps when they are done."""
        while not running.done:
            self._proceed()
        return cast("T", running.result)

    def wait_for(self, populations: Collection[Population]) -> None:
        """Continue until no release of some populations remains to be made; others than the plan's are ignored."""
        while not self._open.isdisjoint(populations):
            self._proceed()

    def why_not(self, populations: Iterable[Population]) -> PrivbenchError | None:
        """Return why one of some populations failed; None if all of them are ready."""
        return next((self.failed[each] for each in populations if each in self.failed), None)

    def _proceed(self) -> None:
        """Handle one outcome, or what follows when there are no more."""
        outcome = next(self._outcomes, None)
        if outcome is None:
            self._outcomes = self.pool.outcomes()
            self._lose()
        elif outcome.index in self._jobs:
            self._hear(outcome)
        else:
            self._resume(self._calls.pop(outcome.index), outcome)
        self._wake()

    def _begin(self) -> None:
        """Start the next wave, without the populations that depend on failed ones."""
        wave = next(self._waves, {})
        begun = len(self._jobs)
        jobs = self._planned.jobs({each: wave[each] for each in wave if not _rests_on(each, self.failed)})
        self._left = Counter(job.population for job in jobs)
        self._open -= set(wave) - set(self._left)
        for number, job in enumerate(jobs, begun):
            served = serves(job.population.task, job.population.defense)
            index = self.pool.submit(Call(make, job, served, lane=None if served else BUILT_IN))
            self._jobs[index], self._numbers[index] = job, number
        if wave and not jobs:  # all of it is in the store
            self._begin()

    def _lose(self) -> None:
        """Continue without releases whose outcomes an executor has lost."""
        self._open -= set(self._left)
        self._begin()
        if self._calls:
            raise PrivbenchError(f"The executor has lost {len(self._calls)} calls.")

    def _hear(self, outcome: Outcome[Any]) -> None:
        job = self._jobs[outcome.index]
        population = job.population
        if isinstance(outcome.error, ENDS_THE_RUN):
            raise outcome.error
        if outcome.error is not None and population not in self.failed:
            note(outcome.error)
            self.failed[population] = _named(job, outcome.error)
            others = [index for index, each in self._jobs.items() if each.population == population]
            self.pool.cancel(others, NotMade(f"not made, because model {job.index} failed"))
        self._left[population] -= 1
        if not self._left[population]:
            self._open.discard(population)
        if not any(self._left.values()):
            self._begin()
        if self._listener:
            self._listener.made(replace(outcome, index=self._numbers[outcome.index], job=job))

    def _wake(self) -> None:
        """Resume the steps whose releases are made."""
        for ready, running in list(self._waiting):
            if self._open.isdisjoint(ready.populations):
                self._waiting.remove((ready, running))
                self._resume(running, self.why_not(ready.populations))

    def _resume(self, running: Running[Any], answer: Any) -> None:
        if isinstance(answer, Outcome) and isinstance(answer.error, ENDS_THE_RUN) and not running.serves:
            raise answer.error
        try:
            wanted = running.steps.send(answer)
            while (answer := self._at_once(wanted, running.report)) is not LATER:
                wanted = running.steps.send(answer)
        except StopIteration as end:
            running.result, running.done = end.value, True
            return
        if isinstance(wanted, Ready):
            self._waiting.append((wanted, running))
        elif isinstance(wanted, Call):
            self._calls[self.pool.submit(wanted)], running.serves = running, wanted.serves
            if running.report is not None and not running.begun:
                running.report(0.0, "")
            running.begun = True

    def _at_once(self, wanted: Call[Any] | Here | Ready, report: Callable[[float, str], None] | None) -> Any:
        """Return the answer to steps that need not wait, or LATER."""
        if isinstance(wanted, Here):
            return inline.run(wanted.call, 0, None if report is None else lambda _, *told: report(*told))
        if isinstance(wanted, Ready) and self._open.isdisjoint(wanted.populations):
            return self.why_not(wanted.populations)
        return LATER

    def _progress(self, call: int, done: float, stage: str) -> None:
        running = self._calls.get(call)
        if running is not None and running.report is not None:
            running.report(done, stage)
        if self._listener and call in self._jobs:
            job = self._jobs[call]
            self._listener.progress(self._numbers[call], done, f"{job.population.defense.name}: {stage}")


def _rests_on(population: Population, failed: Collection[Population]) -> bool:
    """Return whether a population depends on releases of a failed one."""
    defense = population.defense
    base = defense.population if isinstance(defense, ReleasedShadows) else replace(population, inputs="original")
    return base in failed


def _named(job: Job, error: PrivbenchError) -> PrivbenchError:
    return CellFailed(f"{job.population.defense.name} model {job.index}: {error}")
