"""How a run is getting on, on stderr: a bar with an ETA in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from privbench.cli.eta import Work
from privbench.estimate import describe

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from privbench.executors import Outcome
    from privbench.population import Job
    from privbench.record import Record
    from privbench.run import Plan

LOG_EVERY = 30.0
QUERYING = 0.1
"""What it takes to query a model, beside training one."""
MINUTE, HOUR = 60.0, 3600.0


def duration_text(seconds: float) -> str:
    """Return "45 s", "3.2 min" or "1.5 h"."""
    if seconds < 10:  # noqa: PLR2004 - a digit more for short times
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.1f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


class Progress:
    """Draws what `privbench.run` reports; use as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[stage]}", style="dim"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._work = Work([], [])
        self._done = 0
        self._total = 0
        self._cells = 0
        self._stage = ""
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        self._models = self._bars.add_task("Models", total=None, eta="", stage="")
        self._scores = self._bars.add_task("Scoring", total=None, eta="", stage="", visible=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:  # before 14.3 rich ends even bars that were never drawn with an empty line
            self._bars.stop()

    def planned(self, plan: Plan) -> None:
        """Show how much there is to do."""
        wanted = plan.models
        jobs = plan.jobs()
        self._total, to_query = len(jobs), sum(job.trained for job in jobs)
        self._work = Work([(job.population, job.trained) for job in jobs], list(map(_cost, jobs)))
        self._cells = len(plan.cells)
        self._stage = "starting workers"
        self._bars.update(self._models, total=self._total, visible=self._total > 0, stage=self._stage)
        self._bars.update(self._scores, total=self._cells, visible=self._total == 0)
        if self._total:
            query = f", querying {to_query} more" if to_query else ""
            making = self._total - to_query
            self._log(f"Making {making} of {wanted} models{query}; {wanted - making} are in the store.")
        else:
            self._log(f"All {wanted} models are in the store.")
        self._started = self._logged = time.monotonic()

    def progress(self, job: int, done: float, stage: str) -> None:
        """Move the bar by a part of a model."""
        self._work.progress(job, done)
        self._draw(stage)

    def made(self, outcome: Outcome[Job]) -> None:
        """Count a model, or say at once why it failed."""
        self._done += 1
        self._work.ended(outcome.index, outcome.seconds)
        if outcome.error is not None:
            population = outcome.job.population
            self._say(f"Failed: {describe(population)}, model {outcome.job.index}: {outcome.error}")
        self._draw("")
        if time.monotonic() - self._logged > LOG_EVERY:
            self._logged = time.monotonic()
            self._log(f"{self._done} of {self._total} models, {self._eta()}")
        if self._done == self._total:
            self._log(f"Done with {self._total} models in {duration_text(time.monotonic() - self._started)}.")
            self._bars.update(self._scores, visible=True)

    def scored(self, record: Record) -> None:
        """Count a cell, or say at once why it failed."""
        if record.status == "failed":
            self._say(f"Failed: {record.task.spec} / {record.defense.spec} / {record.attack.spec}: {record.reason}")
        self._bars.update(self._scores, advance=1, stage=f"{record.defense.spec} / {record.attack.spec}")

    def measuring(self, done: float, stage: str) -> None:
        """Show how far an audit has come, which measures after the models are made."""
        self._bars.update(
            self._scores, description="Measuring", visible=True, total=100, completed=round(100 * done), stage=stage
        )

    def _draw(self, stage: str) -> None:
        self._stage = stage or self._stage
        self._bars.update(self._models, completed=self._done, eta=self._eta(), stage=self._stage)

    def _eta(self) -> str:
        """Return the time left, from the parts of models done so far."""
        if self._work.begun < 0.5:  # noqa: PLR2004 - too early to tell
            return ""
        left = (time.monotonic() - self._started) * (1 / self._work.fraction - 1)
        return f"{duration_text(left)} left"

    def _log(self, text: str) -> None:
        """Say something that the bar shows anyway in a terminal."""
        if not self._console.is_terminal:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _say(self, text: str) -> None:
        self._bars.console.print(text, soft_wrap=True)


def _cost(job: Job) -> float:
    """Return what a job is expected to take, beside the training of an undefended model."""
    return QUERYING if job.trained else float(getattr(job.population.defense, "relative_cost", 1.0))
