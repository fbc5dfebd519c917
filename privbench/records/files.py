"""Files of records: JSON with its digest, and arrays; the same for records of attacks and of audits."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from privbench.errors import UsageError
from privbench.records.parts import Part
from privbench.store.atomic import atomic_write, writing_into
from privbench.store.hashing import json_sha256, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from typing_extensions import Self

SCHEMA_VERSION: Final = 2
"""The version that is written."""
READABLE = (1, 2)
"""Readable versions: a record of version 1 remains one, and keeps its digest."""
AUDIT = "audit"
"""The `kind` of a record of an audit (privbench.records.audit_record); the other records have none."""
AUDIT_PREFIX = f"{AUDIT}-"
"""Prefix of the file names of audit records; attacks may have it too, so `kind` decides."""


class Filed(Part):
    """A record of either kind: versioned JSON in a file, beside raw arrays."""

    ARRAYS: ClassVar[str]
    """Name of the arrays, which are in `<record>.<ARRAYS>.npz`."""
    NOT_REPRODUCED: ClassVar[frozenset[str]]
    """Fields excluded from a digest, because the record's command does not reproduce them."""
    LATER: ClassVar[frozenset[str]]
    """Fields added after the first records: part of a digest only if they differ from their default."""

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces on the same machine."""
        content = json.loads(self.model_dump_json(exclude=set(self.NOT_REPRODUCED)))
        fields = type(self).model_fields
        absent = {name: fields[name].get_default(call_default_factory=True) for name in self.LATER}
        return json_sha256({n: value for n, value in content.items() if n not in absent or value != absent[n]})

    def sealed(self, **found: Any) -> Self:
        """Return the record with what was found, and with the digest of all of it."""
        record = self.model_copy(update=found)
        return record.model_copy(update={"digest": record.compute_digest()})

    def path(self, out: Path) -> Path:
        """Return where the record lies in a folder of records."""
        raise NotImplementedError


def save(record: Filed, out: Path, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> Path:
    """Write a record, and its raw arrays beside it; return the record's path. Raises CannotWrite."""
    path = record.path(out)
    with writing_into(out, "records"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
            atomic_write(path.with_suffix(f".{record.ARRAYS}.npz"), buffer.getvalue())
        atomic_write(path, readable(json.loads(record.model_dump_json())).encode())
    return path


def scores_sha256(scores: npt.NDArray[np.float64], member: npt.NDArray[np.bool_]) -> str:
    """Return the SHA-256 of raw scores (targets, examples) as little-endian float64, then memberships as bytes."""
    return sha256(scores.astype("<f8"), member.astype("u1"))


def images_sha256(images: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 of reconstructed images (targets, classes, h, w, channels) as little-endian float32."""
    return sha256(images.astype("<f4"))


def contents(paths: Iterable[Path], pattern: str, source: str) -> Iterator[tuple[Path, Any, bool]]:
    """Yield files, and those of folders that match a pattern, sorted: file, JSON in it, whether it is of a folder.

    Raises UsageError where there is nothing, or no JSON; `source` says where records come from.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"No records at {path}: no such file or folder. {source}")
        for file in sorted(path.rglob(pattern)) if path.is_dir() else [path]:
            yield file, _json(file), path.is_dir()


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no record: {error}.") from None


def toml_of(file: Path) -> dict[str, Any]:
    """Return what a file of TOML holds. Raises UsageError where it is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}.") from None
    return content


def is_audit(content: Any) -> bool:
    """Return whether the JSON of a record is that of an audit."""
    return isinstance(content, dict) and content.get("kind") == AUDIT


def check_version(file: Path, content: Any) -> None:
    """Raise UsageError for a record of an unsupported version."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READABLE:
        readable_versions = " and ".join(map(str, READABLE))
        raise UsageError(f"{file}: schema_version is {version!r}; this privbench reads versions {readable_versions}.")


def readable(content: Any) -> str:
    """Return indented JSON with each list of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", "", found[0]), text) + "\n"
