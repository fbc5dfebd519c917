"""The grid, from components to records. Read this first.

    tasks x defenses x attacks
      -> plan: cells, and the populations that they need           (grid/plan.py)
      -> populations: M releases each, trained once and stored     (grid/making.py, population/releases.py)
      -> evidence of one target, its membership withheld           (population/evidence.py)
      -> scores: (targets, examples)                               (grid/cell.py)
      -> record: metrics with intervals, provenance                (grid/scoring.py, records/record.py)

A component that fails spoils only its own cells: they become records with status "failed" and a reason.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from privbench.grid.making import Making
from privbench.grid.plan import Grid, Plan, plan
from privbench.grid.scoring import score
from privbench.records.files import save
from privbench.records.selection import Together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privbench.executors import Executor
    from privbench.grid.making import Listener
    from privbench.records.record import Record
    from privbench.store.store import Store

__all__ = ["Grid", "Plan", "plan", "run"]


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
    yielded together, because the interval of the strongest attack depends on all of them.
    """
    planned = plan(grid, store)
    if listener:
        listener.planned(planned)
    with Making(planned, executor, listener) as making:
        for _, cells in groupby(planned.cells, key=lambda cell: cell.population):
            together = Together(grid.seed)
            for cell in cells:
                making.wait_for({*cell.sources, cell.population.undefended})
                report = partial(listener.scoring, cell) if listener else None
                if report:
                    report(0.0)
                record, raw = score(cell, reason=making.why_not(cell.sources), command=command, report=report)
                together.add(record, raw)
                if out is not None:
                    save(record, out, raw)
                if listener:
                    listener.scored(record)
            for record in together.selected():
                if out is not None and record.selection is not None:
                    save(record, out)
                yield record
