"""Record of an audit: its results on one (task, defense), as versioned JSON next to its raw arrays."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from privbench.errors import UsageError
from privbench.records.files import (
    AUDIT_PREFIX,
    SCHEMA_VERSION,
    canonical,
    check_version,
    digest_of,
    files_at,
    json_of,
    readable,
    save_arrays,
)
from privbench.records.parts import Component, Data, Part
from privbench.seeds import salted
from privbench.stats.intervals import Estimate
from privbench.store.atomic import atomic_write, writing_into

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NOT_REPRODUCED = {"seconds", "environment", "created", "digest", "command"}
LATER = {"salt"}
"""Fields added after the first records; see `privbench.records.record.LATER`."""
Plain = str | int | float | bool | None


class AuditRecord(Part):
    """The results of one audit on one (task, defense)."""

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
        """Return the SHA-256 of the part that the record's command reproduces on the same machine."""
        return digest_of(self, NOT_REPRODUCED, LATER)

    def path(self, out: Path) -> Path:
        """Return the location in a folder of records: <task>/<defense>/audit-<name>-<hash>.json."""
        parts = [self.task.spec, self.data.fingerprint, self.defense.spec, self.audit.spec]
        parts += [str(part) for part in (self.models, self.seed, self.device, *salted(self.salt))]
        short = hashlib.sha256(canonical(parts)).hexdigest()[:8]
        return out / self.task.name / self.defense.name / f"{AUDIT_PREFIX}{self.audit.name}-{short}.json"


def arrays_sha256(arrays: Mapping[str, Any]) -> str:
    """Return the SHA-256 of arrays by name, little-endian."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name}{little.dtype.str}{little.shape}".encode() + little.tobytes())
    return digest.hexdigest()


def save(record: AuditRecord, out: Path, arrays: Mapping[str, Any]) -> Path:
    """Write a record, and `<record>.arrays.npz` next to it; return the record's path."""
    path = record.path(out)
    with writing_into(out, "records"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            save_arrays(path.with_suffix(".arrays.npz"), arrays)
        atomic_write(path, readable(json.loads(record.model_dump_json())).encode())
    return path


def load(paths: Sequence[Path]) -> list[AuditRecord]:
    """Return the records of audits in files and folders, sorted by path. Raises UsageError for invalid files."""
    found = []
    for path in paths:
        for file in files_at(path, f"{AUDIT_PREFIX}*.json", "`privbench audit NAME --out` writes them."):
            content = json_of(file)
            of_attack = isinstance(content, dict) and "attack" in content  # whose name may begin with `audit-` as well
            if not (path.is_dir() and of_attack):
                found.append(_record(file, content))
    return found


def _record(file: Path, content: Any) -> AuditRecord:
    check_version(file, content)
    try:
        return AuditRecord.model_validate(content)
    except ValueError as error:
        raise UsageError(f"{file} is no record of an audit: {' '.join(str(error).split())[:200]}.") from None
