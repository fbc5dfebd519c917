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
    """Whoever wants to see how a run is getting on."""

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
