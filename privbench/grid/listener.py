"""Callbacks that report a run's progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from privbench.executors import Outcome
    from privbench.grid.cell import Cell
    from privbench.grid.plan import Plan
    from privbench.population.population import Job
    from privbench.records.record import Record


class Listener(Protocol):
    """Protocol of callbacks that report a run's progress."""

    def planned(self, plan: Plan) -> None:
        """All remaining work is known."""

    def progress(self, job: int, done: float, stage: str) -> None:
        """Report the progress of one release."""

    def made(self, outcome: Outcome[Job]) -> None:
        """One release is in the store, or failed."""

    def scoring(self, cell: Cell, done: float) -> None:
        """Report the progress of one cell, in [0, 1]."""

    def scored(self, record: Record) -> None:
        """One cell has its record."""
