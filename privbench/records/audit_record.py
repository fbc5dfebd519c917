"""Record of an audit: its results on one (task, defense), as versioned JSON next to its raw arrays."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from privbench.records.files import AUDIT, AUDIT_PREFIX, SCHEMA_VERSION, Filed
from privbench.records.parts import Component, Data
from privbench.records.reading import read, refuse
from privbench.seeds import salted
from privbench.stats.intervals import Estimate
from privbench.stats.ranges import AtLeastOne, Finite, NonNegative
from privbench.store.hashing import arrays_sha256, json_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from privbench.aliases import Array
    from privbench.errors import InvalidRecord

Plain = str | int | Finite | bool | None


class AuditRecord(Filed):
    """The results of one audit on one (task, defense)."""

    ARRAYS: ClassVar = "arrays"
    NOT_REPRODUCED: ClassVar = frozenset({"seconds", "environment", "created", "digest", "command", "files"})
    LATER: ClassVar = frozenset({"salt"})
    KIND: ClassVar = AUDIT
    WRITTEN_BY: ClassVar = "`privbench audit NAME --out` writes them."

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    kind: Literal["audit"] = "audit"
    task: Component
    data: Data
    defense: Component
    audit: Component
    models: AtLeastOne
    seed: int
    salt: str = Field("", description="of the halves; empty: the public one")
    device: str
    status: Literal["ok", "failed"]
    reason: str = ""
    values: dict[str, Estimate | int | Finite | str | None] = Field(default_factory=dict)
    tables: dict[str, list[dict[str, Plain]]] = Field(default_factory=dict, description="small tables, by title")
    notes: list[str] = Field(default_factory=list, description="what must be said beside the numbers")
    arrays_sha256: str = Field("", description="of the arrays beside the record, by name, little-endian")
    command: str = ""
    seconds: NonNegative | None = Field(None, description="that measuring took, without making the releases")
    environment: dict[str, str] = Field(default_factory=dict)
    created: dt.datetime | None = None

    @property
    def raw_digest(self) -> str:
        """The SHA-256 of the arrays; empty: there are none."""
        return self.arrays_sha256

    def own(self, arrays: Mapping[str, Array]) -> bool:
        """Return whether arrays are those of the record."""
        return arrays_sha256(sorted(arrays.items())) == self.arrays_sha256

    def path(self, out: Path) -> Path:
        """Return the location in a folder of records: <task>/<defense>/audit-<name>-<hash>.json."""
        parts = [self.task.spec, self.data.fingerprint, self.defense.spec, self.audit.spec]
        parts += [str(part) for part in (self.models, self.seed, self.device, *salted(self.salt))]
        file = f"{AUDIT_PREFIX}{self.audit.name}-{json_sha256(parts)[:8]}.json"
        return out / self.task.name / self.defense.name / file


def load(paths: Iterable[Path], invalid: Callable[[InvalidRecord], None] = refuse) -> list[AuditRecord]:
    """Return the records of audits in files and folders, sorted by path; each is verified.

    invalid: called for each file that is no valid record, which is left out; by default it raises

    Raises UsageError where there is no such file or folder.
    """
    return [record for _, record in read(AuditRecord, paths, invalid)]
