"""Audits of populations: training, measurement, and records.

tasks x defenses -> populations (population/), and further ones for comparison
x audits         -> Measurement (contracts/)
                 -> AuditRecord: values with intervals, small tables, provenance; JSON beside raw arrays
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.contracts.abilities import Compares
from privbench.contracts.context import Context
from privbench.errors import BadOption, CellFailed, PrivbenchError, UsageError, blamed, note
from privbench.executors import Call
from privbench.grid import declared, named
from privbench.grid.calls import Ready, own, result, serves
from privbench.grid.comparing import compared
from privbench.grid.making import Listener, Making
from privbench.grid.plan import Plan, unfit
from privbench.grid.unusable import audit_records
from privbench.options.fields import build, options_of, spec
from privbench.population.fixed import fixed
from privbench.population.keeper import Keeper
from privbench.records.audit_record import AuditRecord
from privbench.records.files import save
from privbench.records.provenance import caught, component, failure, heading_of
from privbench.store.hashing import arrays_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from privbench.contracts.measurement import Measurement
    from privbench.executors import Executor, Port, Servant
    from privbench.grid.calls import Steps
    from privbench.grid.plan import Grid
    from privbench.population.population import Population
    from privbench.store.store import Store


@dataclass(frozen=True)
class Bench:
    """One audit of one population, and the populations for comparison."""

    audit: Any
    population: Population
    compared: tuple[Population, ...] = ()
    impossible: Exception | None = None
    """Why the audit must fail, if known before training."""


def has_fixed_members(audit: Any) -> bool:
    """Return whether an audit is of models that all have the same members: its option `members` is "fixed"."""
    return bool(options_of(audit).get("members") == "fixed")


def plan(grid: Grid, audits: Sequence[Any], store: Store, *, timeout: float = 0.0) -> tuple[Plan, list[Bench]]:
    """Work out what audits need, without training anything. Raises UsageError where no audit can be run.

    timeout: seconds after which the loading of a task, and `compared` of an audit, are stopped if they are not
        privbench's own; 0: never
    """
    if grid.fixed and not all(map(has_fixed_members, audits)):
        raise UsageError("Grid(fixed=True) is for audits with the option members=fixed.")
    planned = Plan(grid)
    benches = [
        _bench(planned, audit, population, timeout) for population in planned.given(store, timeout) for audit in audits
    ]
    if benches and all(bench.impossible for bench in benches):
        raise UsageError(str(benches[0].impossible)) from benches[0].impossible
    return planned, benches


def _bench(planned: Plan, audit: Any, population: Population, timeout: float) -> Bench:
    """Return one audit of one population, and add its requirements to the plan; none if it must fail."""
    if has_fixed_members(audit) and not population.fixed:
        population = fixed(population)
    try:
        declared.check_traits(population.defense)
        others = compared(audit, population, timeout) if isinstance(audit, Compares) else ()
    except UsageError:
        raise
    except PrivbenchError as error:
        note(error)
        return Bench(audit, population, impossible=error)
    if why := unfit(population):
        return Bench(audit, population, impossible=BadOption(f"{population.defense.name}: {why}"))
    population = planned.need(population, 1)
    return Bench(audit, population, tuple(planned.need(each, 1) for each in others))


def conduct(
    grid: Grid,
    audits: Sequence[Any],
    store: Store,
    executor: Executor,
    *,
    out: Path | None = None,
    listener: Listener | None = None,
    progress: Callable[[float, str], None] | None = None,
    command: str = "",
) -> Iterator[AuditRecord]:
    """Make missing releases, measure, and yield one record per audit and population, also written to `out`."""
    planned, benches = plan(grid, audits, store, timeout=executor.timeout)
    if listener:
        listener.planned(planned)
    for failed in audit_records(planned, audits, command):
        if out is not None:
            save(failed, out)
        yield failed
    with Making(planned, executor, listener) as making:
        servant = making.pool.servant
        begun = [making.start(auditing(bench, command=command, servant=servant), progress) for bench in benches]
        for running in begun:
            record, arrays = making.until(running)
            if out is not None:
                save(record, out, arrays)
            yield record


def auditing(
    bench: Bench, *, command: str = "", servant: Callable[..., Servant]
) -> Steps[tuple[AuditRecord, Mapping[str, Any]]]:
    """Return the steps of one audit to its record and its arrays.

    servant: returns the process of an attack that the audit names, and of its queries (`Pool.servant`)
    """
    population, sources = bench.population, (bench.population, *bench.compared)
    base = AuditRecord(**heading_of(population, command), audit=component("audit", bench.audit))
    reason = bench.impossible or (yield Ready(frozenset(sources)))
    if reason is not None:
        return base.sealed(**failure(reason)), {}
    parts = [population.task, *(each.defense for each in sources), bench.audit]
    with caught() as failed:
        # Never beside other calls: an audit names attacks of its own, whose plugins it imports.
        alone = f"{spec(bench.audit)} of {serves(*parts) or population.defense.name}"
        call = Call(
            _measure,
            Measuring(base, bench.audit, sources),
            alone,
            first=True,
            answer=lambda wanted: named.answer(wanted, sources, servant),
        )
        found: tuple[AuditRecord, Mapping[str, Any]] = result((yield from own(call, *parts)))
        return found
    return base.sealed(**failed), {}


@dataclass(frozen=True)
class Measuring:
    """An audit, the heading of its record, and its populations, the audited one first."""

    base: AuditRecord
    audit: Any
    sources: tuple[Population, ...]


def _measure(job: Measuring, port: Port) -> tuple[AuditRecord, Mapping[str, Any]]:
    population = job.sources[0]
    with named.asking(port, job.sources):
        return fill(job.base, job.audit, population, _context(job.audit, population, port))


def measure(audit: Any, population: Population, *, command: str = "") -> tuple[AuditRecord, Mapping[str, Any]]:
    """Run one audit, in this process, of a population whose releases are made; return its record and its arrays.

    If the audit fails or does not apply, the record says so.
    """
    base = AuditRecord(**heading_of(population, command), audit=component("audit", audit))
    return fill(base, audit, population, _context(audit, population, None))


def _context(audit: Any, population: Population, report: Callable[[float, str], None] | None) -> Context:
    context = Context(
        seed=seeds.derive(population.seed, "audit", audit.name),
        device=population.device,
        reference=population.dataset.role("reference"),
        validation=population.dataset.role("validation"),
        keep=Keeper.of(population),
    )
    return dataclasses.replace(context, report=report) if report else context


def fill(base: AuditRecord, audit: Any, population: Population, context: Context) -> tuple[AuditRecord, dict[str, Any]]:
    """Return a record with an audit's measurements of a population, and the arrays; or with the reason of a failure."""
    start = time.perf_counter()
    with caught() as failed:
        with blamed(audit):
            found: Measurement = audit.measure(population, context)
        arrays = {name: np.asarray(array) for name, array in found.arrays.items()}
        record = AuditRecord(
            **{
                **dict(base),
                "values": {name: _plain(value) for name, value in found.values.items()},
                "tables": {title: [_row(row) for row in rows] for title, rows in found.tables.items()},
                "notes": list(found.notes),
                "arrays_sha256": arrays_sha256(sorted(arrays.items())) if arrays else "",
                "seconds": round(time.perf_counter() - start, 3),
            }
        )
        return record.sealed(), arrays
    return base.sealed(**failed), {}


def with_student(audit: Any, student: str) -> Any:
    """Return the audit with its option `student` set. Raises UsageError if it has none."""
    if "student" not in {field.name for field in dataclasses.fields(audit)}:
        raise UsageError(f"--student {student}: audit {audit.name!r} trains no student.")
    return build(type(audit), {**options_of(audit), "student": student})


def _plain(value: Any) -> Any:
    """Return a value for JSON; an audit must explain NaN and infinity instead of reporting them."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise CellFailed(f"a value is {value}; an audit gives None, and says why in its notes.")
    return value


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}
