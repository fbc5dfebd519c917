"""Progress of a run on stderr: a bar with an ETA in a terminal, occasional lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from privbench.cli.console import say, width
from privbench.cli.eta import Work
from privbench.escapes import printable
from privbench.grid.damage import damage_of
from privbench.grid.estimate import WILL_FAIL, describe, foreseen
from privbench.options.fields import spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from privbench.executors import Outcome
    from privbench.grid.cell import Cell
    from privbench.population.population import Job
    from privbench.records.record import Record
    from privbench.run import Plan

LOG_EVERY = 30.0
AT_ONCE = 1e-3
"""Cost of a cell that is known to fail or not to apply, relative to one that is scored."""
QUERYING = 0.1
"""Cost of querying a model, relative to training one."""
MINUTE, HOUR = 60.0, 3600.0


def duration_text(seconds: float) -> str:
    """Return "45 s", "3.2 min" or "1.5 h"."""
    if seconds < 10:  # noqa: PLR2004 - a digit more for short times
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.1f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


class Progress:
    """Displays the progress that `privbench.run` reports; use as a context manager.

    before: called once, before the first model is made; not if all are in the store.
    """

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        from privbench.cli.safe_console import SafeConsole

        self._console = SafeConsole(stderr=True, width=width(sys.stderr))
        self._draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[stage]}", style="dim", markup=False),
            console=self._console,
            transient=True,
            disable=not self._draws,
        )
        self._work = self._scoring = Work([], [])
        self._done = self._failed = self._scored = 0
        self._total = self._cells = 0
        self._stage = ""
        self._places: dict[int, int] = {}
        self._before = before
        self._told: set[tuple[str, str]] = set()
        self._in_work: dict[int, float] = {}
        """Cells that are being scored, each with the time of its first news."""
        self._spent = self._since = 0.0
        """Seconds in which cells were scored, and since when one is."""
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        self._models = self._bars.add_task("Models", total=None, eta="", stage="")
        self._scores = self._bars.add_task("Scoring", total=None, eta="", stage="", visible=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._draws:  # before 14.3 rich prints an empty line even for bars that were never drawn
            self._bars.stop()

    def planned(self, plan: Plan) -> None:
        """Show the total work."""
        wanted = plan.models
        jobs = plan.jobs()
        if jobs:
            self._before()
        self._total, to_query = len(jobs), sum(job.trained for job in jobs)
        self._work = Work([(job.population, job.trained) for job in jobs], list(map(_cost, jobs)))
        self._cells = len(plan.cells)
        self._places = {id(cell): place for place, cell in enumerate(plan.cells)}
        done_at_once = [bool(cell.inapplicable or cell.impossible) for cell in plan.cells]
        names = [cell.attack.name for cell in plan.cells]
        self._scoring = Work(names, [AT_ONCE if known else 1.0 for known in done_at_once])
        for line in damage_of(plan, jobs):
            self._say(line)
        for where, verdict, reason, attacks in foreseen(plan):
            if verdict == WILL_FAIL:
                self._tell(where, f" / {', '.join(attacks)}" if attacks else "", reason)
        self._stage = "starting workers"
        self._bars.update(self._models, total=self._total, visible=self._total > 0, stage=self._stage)
        self._bars.update(self._scores, total=self._cells, visible=self._total == 0)
        if self._total:
            query = f", querying {to_query} more" if to_query else ""
            making = self._total - to_query
            self._log(f"Training {making} of {wanted} models{query}; {wanted - making} are in the store.")
        else:
            self._log(f"All {wanted} models are in the store.")
        self._started = self._logged = time.monotonic()

    def progress(self, job: int, done: float, stage: str) -> None:
        """Advance the bar by a part of a model."""
        self._work.progress(job, done)
        self._draw(stage)

    def made(self, outcome: Outcome[Job]) -> None:
        """Count a model, or report at once why it failed."""
        self._done += 1
        self._work.ended(outcome.index, outcome.seconds)
        if outcome.error is not None:
            self._failed += 1
            population, index = outcome.job.population, outcome.job.index
            self._tell(describe(population), f", model {index}", str(outcome.error))
            self._told.add((describe(population), f"{population.defense.name} model {index}: {outcome.error}"))
        self._draw("")
        if time.monotonic() - self._logged > LOG_EVERY:
            self._logged = time.monotonic()
            self._log(f"{self._done} of {self._total} models, {self.eta()}")
        if self._done == self._total:
            took = duration_text(time.monotonic() - self._started)
            made = f"Finished {self._total - self._failed} of {self._total} models in {took}; {self._failed} failed."
            self._log(made if self._failed else f"Finished {self._total} models in {took}.")
            self._bars.update(self._scores, visible=True)

    def scoring(self, cell: Cell, done: float) -> None:
        """Show a cell, and advance the bar by a part of it."""
        now = time.monotonic()
        if not self._in_work:
            self._since = now
        self._in_work.setdefault(id(cell), now)
        self._scoring.progress(self._places[id(cell)], done)
        stage = f"{spec(cell.population.defense)} / {spec(cell.attack)}"
        self._bars.update(self._scores, visible=True, eta=self.scoring_eta(), stage=stage)

    def scored(self, cell: Cell, record: Record) -> None:
        """Count a cell, or report at once why it failed."""
        now = time.monotonic()
        begun = self._in_work.pop(id(cell), None)
        self._scoring.ended(self._places[id(cell)], 0.0 if begun is None else now - begun)
        if begun is not None and not self._in_work:
            self._spent += now - self._since
        self._scored += 1
        if record.status == "failed":
            self._tell(describe(cell.population), f" / {record.attack.spec}", record.reason)
        self._bars.update(self._scores, advance=1, eta=self.scoring_eta())
        if now - self._logged > LOG_EVERY:
            self._logged = now
            self._log(f"{self._scored} of {self._cells} cells, {self.scoring_eta()}")

    def measuring(self, done: float, stage: str) -> None:
        """Show the progress of an audit, which measures after the models are made."""
        self._bars.update(
            self._scores, description="Measuring", visible=True, total=100, completed=round(100 * done), stage=stage
        )

    def _draw(self, stage: str) -> None:
        self._stage = stage or self._stage
        self._bars.update(self._models, completed=self._done, eta=self.eta(), stage=self._stage)

    def refresh(self) -> None:
        """Draw the bars now; they are drawn ten times a second anyway."""
        self._bars.refresh()

    def eta(self) -> str:
        """Return the time left until all models are made; nothing while it is too early to tell."""
        return _left(self._work, time.monotonic() - self._started)

    def scoring_eta(self) -> str:
        """Return the time left until all cells are scored; nothing while it is too early to tell."""
        running = time.monotonic() - self._since if self._in_work else 0.0
        return _left(self._scoring, self._spent + running)

    def _tell(self, where: str, what: str, reason: str) -> None:
        """Report a failure, once for each reason if it is the same for all models, or for all cells."""
        if (where, reason) not in self._told:
            self._told.add((where, reason))
            self._say(f"Failed: {where}{what}: {reason}")

    def _log(self, text: str) -> None:
        """Print a message that the bar in a terminal shows anyway."""
        if not self._draws:
            say(text, err=True)

    def _say(self, text: str) -> None:
        self._bars.console.print(printable(text), soft_wrap=True)


def _left(work: Work, spent: float) -> str:
    """Return the remaining time, extrapolated from the completed parts; empty if it is too early."""
    if work.begun < 0.5:  # noqa: PLR2004
        return ""
    return f"{duration_text(spent * (1 / work.fraction - 1))} left"


def _cost(job: Job) -> float:
    """Return the expected cost of a job, relative to the training of an undefended model."""
    from privbench.population.traits import relative_cost

    return QUERYING if job.trained else relative_cost(job.population.defense)
