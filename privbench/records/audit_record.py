"""Record of an audit: its results on one (task, defense), as versioned JSON next to its raw arrays."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from privbench.errors import UsageError
from privbench.records.files import AUDIT_PREFIX, SCHEMA_VERSION, Filed, check_version, contents
from privbench.records.parts import Component, Data
from privbench.seeds import salted
from privbench.stats.intervals import Estimate
from privbench.store.hashing import json_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Plain = str | int | float | bool | None


class AuditRecord(Filed):
    """The results of one audit on one (task, defense)."""

    ARRAYS: ClassVar = "arrays"
    NOT_REPRODUCED: ClassVar = frozenset({"seconds", "environment", "created", "digest", "command"})
    LATER: ClassVar = frozenset({"salt"})

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

    def path(self, out: Path) -> Path:
        """Return the location in a folder of records: <task>/<defense>/audit-<name>-<hash>.json."""
        parts = [self.task.spec, self.data.fingerprint, self.defense.spec, self.audit.spec]
        parts += [str(part) for part in (self.models, self.seed, self.device, *salted(self.salt))]
        file = f"{AUDIT_PREFIX}{self.audit.name}-{json_sha256(parts)[:8]}.json"
        return out / self.task.name / self.defense.name / file


def load(paths: Sequence[Path]) -> list[AuditRecord]:
    """Return the records of audits in files and folders, sorted by path. Raises UsageError for invalid files."""
    found = []
    for file, content, mixed in contents(paths, f"{AUDIT_PREFIX}*.json", "`privbench audit NAME --out` writes them."):
        if mixed and isinstance(content, dict) and "attack" in content:
            continue  # the record of an attack, which may be called `audit-...` as well
        check_version(file, content)
        try:
            found.append(AuditRecord.model_validate(content))
        except ValueError as error:
            raise UsageError(f"{file} is no record of an audit: {' '.join(str(error).split())[:200]}.") from None
    return found
