"""The grid, from components to records. Read this first.

    tasks x defenses x attacks
      -> plan: cells, and the populations that they need           (grid/plan.py)
      -> populations: M releases each, trained once and stored     (grid/making.py, population/releases.py)
      -> evidence of one target, its membership withheld           (population/evidence.py)
      -> scores: (targets, examples), in a process of the attack   (grid/attacking.py)
      -> record: metrics with intervals, provenance                (grid/scoring.py, grid/measuring.py)

A component that fails spoils only its own cells: they become records with status "failed" and a reason.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from privbench.executors import Call
from privbench.grid import unusable
from privbench.grid.calls import result
from privbench.grid.making import Making
from privbench.grid.plan import Grid, Plan, plan
from privbench.grid.scoring import scoring
from privbench.records.files import save
from privbench.records.selection import selected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from privbench.aliases import Array
    from privbench.executors import Executor
    from privbench.grid.calls import Steps
    from privbench.grid.cell import Cell
    from privbench.grid.making import Listener
    from privbench.records.record import Record
    from privbench.store.store import Store

__all__ = ["Grid", "Plan", "plan", "run"]

CHOICE = 2
"""Least number of attacks of which one is the strongest."""


def run(
    grid: Grid,
    store: Store,
    executor: Executor,
    *,
    out: Path | None = None,
    listener: Listener | None = None,
    command: str = "",
) -> Iterator[Record]:
    """Make missing releases, attack them, and yield one record per cell, also written to `out`.

    A cell is scored as soon as its releases are made, while others are trained. The records of one population are
    yielded together, because the interval of the strongest attack depends on all of them; first those of tasks that
    cannot be loaded.
    """
    planned = plan(grid, store, timeout=executor.timeout)
    if listener:
        listener.planned(planned)
    for failed in unusable.records(planned, command):
        if out is not None:
            save(failed, out)
        yield failed
    with Making(planned, executor, listener) as making:
        known: dict[Any, Any] = {}

        def scored(cell: Cell) -> Steps[tuple[Record, dict[str, Array]]]:
            record, raw = yield from scoring(cell, command=command, servant=making.pool.servant, known=known)
            if out is not None:
                save(record, out, raw)
            if listener:
                listener.scored(cell, record)
            return record, raw

        populations = [list(cells) for _, cells in groupby(planned.cells, key=lambda cell: cell.population)]
        begun = [[making.start(scored(cell), _report(listener, cell)) for cell in cells] for cells in populations]
        for running in begun:
            records = [making.until(each) for each in running]
            for record in making.until(making.start(_selected(grid.seed, records))):
                if out is not None and record.selection is not None:
                    save(record, out)
                yield record


def _selected(seed: int, records: list[tuple[Record, dict[str, Array]]]) -> Steps[list[Record]]:
    """Return the steps to the records of one population, with the intervals of the strongest attack."""
    if sum("scores" in raw for _, raw in records) < CHOICE:
        return [record for record, _ in records]
    found: list[Record] = result((yield Call(selected, (seed, records), first=True)))
    return found


def _report(listener: Listener | None, cell: Cell) -> Callable[[float, str], None] | None:
    return (lambda done, _stage: listener.scoring(cell, done)) if listener else None
