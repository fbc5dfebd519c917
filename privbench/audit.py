"""Audits of populations: made, measured, and written down as records of their own.

tasks x defenses -> populations (population.py), and those that an audit compares them with
x audits         -> Measurement (api.py)
                 -> AuditRecord: values with intervals, small tables, provenance; JSON beside raw arrays
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from privbench import seeds
from privbench.atomic import atomic_write, writing_into
from privbench.context import Context
from privbench.errors import BadOption, CellFailed, PrivbenchError, UsageError
from privbench.failures import ENDS_THE_RUN, blamed, note
from privbench.intervals import Estimate
from privbench.provenance import component, data_of, environment, failure, now
from privbench.record import (
    AUDIT_PREFIX,
    SCHEMA_VERSION,
    Component,
    Data,
    _Part,
    canonical,
    check_version,
    digest_of,
    files_at,
    json_of,
    readable,
    save_arrays,
    sealed,
)
from privbench.releases import Keeper
from privbench.seeds import salted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from privbench.api import Measurement
    from privbench.executors import Executor
    from privbench.population import Population
    from privbench.run import Grid, Listener, Plan
    from privbench.store import Store

NOT_REPRODUCED = {"seconds", "environment", "created", "digest", "command"}
LATER = {"salt"}
"""Fields that came after the first records; see `privbench.record.LATER`."""
Plain = str | int | float | bool | None


class AuditRecord(_Part):
    """What one audit found of one (task, defense)."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    kind: Literal["audit"] = "audit"
    task: Component
    data: Data
    defense: Component
    audit: Component
    models: int
    seed: int
    salt: str = Field("", description="of the halves; empty: the public one")
    device: str
    status: Literal["ok", "failed"]
    reason: str = ""
    values: dict[str, Estimate | int | float | str | None] = Field(default_factory=dict)
    tables: dict[str, list[dict[str, Plain]]] = Field(default_factory=dict, description="small tables, by title")
    notes: list[str] = Field(default_factory=list, description="what must be said beside the numbers")
    arrays_sha256: str = Field("", description="of the arrays beside the record, by name, little-endian")
    command: str = ""
    seconds: float | None = Field(None, description="that measuring took, without making the releases")
    environment: dict[str, str] = Field(default_factory=dict)
    created: dt.datetime | None = None
    digest: str = Field("", description="SHA-256 of what the command reproduces on the same machine")

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces on the same machine."""
        return digest_of(self, NOT_REPRODUCED, LATER)

    def path(self, out: Path) -> Path:
        """Return where the record lies in a folder of records: <task>/<defense>/audit-<name>-<hash>.json."""
        parts = [self.task.spec, self.data.fingerprint, self.defense.spec, self.audit.spec]
        parts += [str(part) for part in (self.models, self.seed, self.device, *salted(self.salt))]
        short = hashlib.sha256(canonical(parts)).hexdigest()[:8]
        return out / self.task.name / self.defense.name / f"{AUDIT_PREFIX}{self.audit.name}-{short}.json"


@dataclass(frozen=True)
class Bench:
    """One audit on one population, and the populations that it compares it with."""

    audit: Any
    population: Population
    compared: tuple[Population, ...] = ()
    impossible: Exception | None = None
    """Why the audit must fail, as far as that is known before training."""


def plan(grid: Grid, audits: Sequence[Any], store: Store) -> tuple[Plan, list[Bench]]:
    """Work out what audits need, without training anything. Raises UsageError where no audit can be run."""
    from privbench.run import Plan

    planned, benches = Plan(grid), []
    for task in grid.tasks:
        with blamed(task):
            dataset = task.load()
        for defense in grid.defenses:
            population = grid.population(task, dataset, defense, store)
            benches += [_bench(planned, audit, population) for audit in audits]
    if benches and all(bench.impossible for bench in benches):
        raise UsageError(str(benches[0].impossible)) from benches[0].impossible
    return planned, benches


def _bench(planned: Plan, audit: Any, population: Population) -> Bench:
    """Return one audit of one population, and note what has to be made for it: nothing where it must fail."""
    try:
        with blamed(audit):
            others = tuple(getattr(audit, "compared", lambda _population: ())(population))
    except UsageError:
        raise
    except PrivbenchError as error:
        note(error)
        return Bench(audit, population, impossible=error)
    if population.unfit:
        return Bench(audit, population, impossible=BadOption(f"{population.defense.name}: {population.unfit}"))
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
    """Make the releases that are missing, measure, and yield one record per audit and population, in `out` too."""
    from privbench.making import Making

    planned, benches = plan(grid, audits, store)
    if listener:
        listener.planned(planned)
    with Making(planned, executor, listener) as making:
        for bench in benches:
            sources = (bench.population, *bench.compared)
            making.wait_for(sources)
            reason = bench.impossible or making.why_not(sources)
            record, arrays = measure(bench.audit, bench.population, reason=reason, progress=progress, command=command)
            if out is not None:
                save(record, out, arrays)
            yield record


def measure(
    audit: Any,
    population: Population,
    *,
    reason: Exception | None = None,
    progress: Callable[[float, str], None] | None = None,
    command: str = "",
) -> tuple[AuditRecord, Mapping[str, Any]]:
    """Run one audit on a population whose releases are made; return its record and its arrays.

    With a reason, or when the audit fails or does not apply, the record says so.
    """
    base = _about(audit, population, command)
    if reason is not None:
        return sealed(base, **failure(reason)), {}
    context = Context(
        seed=seeds.derive(population.seed, "audit", audit.name),
        device=population.device,
        reference=population.dataset.role("reference"),
        validation=population.dataset.role("validation"),
        keep=Keeper(population),
    )
    return fill(base, audit, population, dataclasses.replace(context, report=progress) if progress else context)


def fill(base: AuditRecord, audit: Any, population: Population, context: Context) -> tuple[AuditRecord, dict[str, Any]]:
    """Return a record with what an audit measures of a population, and the arrays; or with why it could not."""
    start = time.perf_counter()
    try:
        with blamed(audit):
            found: Measurement = audit.measure(population, context)
        arrays = {name: np.asarray(array) for name, array in found.arrays.items()}
        record = AuditRecord(
            **{
                **dict(base),
                "values": {name: _plain(value) for name, value in found.values.items()},
                "tables": {title: [_row(row) for row in rows] for title, rows in found.tables.items()},
                "notes": list(found.notes),
                "arrays_sha256": _sha256(arrays) if arrays else "",
                "seconds": round(time.perf_counter() - start, 3),
            }
        )
    except ENDS_THE_RUN:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever an audit does wrong, SystemExit too, the others go on
        return sealed(base, **failure(error)), {}
    return sealed(record), arrays


def save(record: AuditRecord, out: Path, arrays: Mapping[str, Any]) -> Path:
    """Write a record, and beside it `<record>.arrays.npz`; return the record's path."""
    path = record.path(out)
    with writing_into(out, "records"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            save_arrays(path.with_suffix(".arrays.npz"), arrays)
        atomic_write(path, readable(json.loads(record.model_dump_json())).encode())
    return path


def load(paths: Sequence[Path]) -> list[AuditRecord]:
    """Return the records of audits in files and folders, sorted by path. Raises UsageError for what is none."""
    found = []
    for path in paths:
        for file in files_at(path, f"{AUDIT_PREFIX}*.json", "`privbench audit NAME --out` writes them."):
            content = json_of(file)
            of_attack = isinstance(content, dict) and "attack" in content  # which may be called `audit-...` as well
            if not (path.is_dir() and of_attack):
                found.append(_record(file, content))
    return found


def _record(file: Path, content: Any) -> AuditRecord:
    check_version(file, content)
    try:
        return AuditRecord.model_validate(content)
    except ValueError as error:
        raise UsageError(f"{file} is no record of an audit: {' '.join(str(error).split())[:200]}.") from None


def with_student(audit: Any, student: str) -> Any:
    """Return the audit with its option `student` set. Raises UsageError where it has none."""
    if "student" not in {field.name for field in dataclasses.fields(audit)}:
        raise UsageError(f"--student {student}: audit {audit.name!r} trains no student.")
    from privbench.options import build, options_of

    return build(type(audit), {**options_of(audit), "student": student})


def _about(audit: Any, population: Population, command: str) -> AuditRecord:
    return AuditRecord(
        task=component("task", population.task),
        data=data_of(population.dataset),
        defense=component("defense", population.defense),
        audit=component("audit", audit),
        models=population.models,
        seed=population.seed,
        salt=population.salt,
        device=population.device,
        status="ok",
        command=command,
        environment=environment(population.device),
        created=now(),
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; NaN and infinity are for an audit to explain, not to report."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise CellFailed(f"a value is {value}; an audit gives None, and says why in its notes.")
    return value


def _row(row: Mapping[str, Any]) -> dict[str, Plain]:
    return {name: _plain(value) for name, value in row.items()}


def _sha256(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name}{little.dtype.str}{little.shape}".encode() + little.tobytes())
    return digest.hexdigest()
