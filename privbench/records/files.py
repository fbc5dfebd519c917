"""Files of records: canonical JSON, digests, arrays; the same for records of attacks and of audits."""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from privbench.errors import UsageError
from privbench.store.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import BaseModel
    from typing_extensions import Self

SCHEMA_VERSION: Final = 2
"""The version that is written."""
READABLE = (1, 2)
"""Readable versions: a record of version 1 remains one, and keeps its digest."""
AUDIT = "audit"
"""The `kind` of a record of an audit (privbench.records.audit_record); the other records have none."""
AUDIT_PREFIX = f"{AUDIT}-"
"""Prefix of the file names of audit records; attacks may have it too, so `kind` decides."""


def digest_of(record: BaseModel, not_reproduced: set[str], later: set[str]) -> str:
    """Return the SHA-256 of a record's canonical JSON, without some fields, and without later ones that say nothing."""
    content = json.loads(record.model_dump_json(exclude=not_reproduced))
    absent = {name: type(record).model_fields[name].get_default(call_default_factory=True) for name in later}
    content = {name: value for name, value in content.items() if name not in later or value != absent[name]}
    return hashlib.sha256(canonical(content)).hexdigest()


class Digested(Protocol):
    """Protocol of both kinds of records: with the digest of the part that its command reproduces."""

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces on the same machine."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return the same record with other fields."""
        ...


Sealed = TypeVar("Sealed", bound=Digested)


def sealed(record: Sealed, **found: Any) -> Sealed:
    """Return a record with what was found, and with the digest of all of it."""
    record = record.model_copy(update=found)
    return record.model_copy(update={"digest": record.compute_digest()})


def scores_sha256(scores: npt.NDArray[np.float64], member: npt.NDArray[np.bool_]) -> str:
    """Return the SHA-256 of raw scores (targets, examples) as little-endian float64, then memberships as bytes."""
    content = np.ascontiguousarray(scores, dtype="<f8").tobytes() + np.ascontiguousarray(member, dtype="u1").tobytes()
    return hashlib.sha256(content).hexdigest()


def images_sha256(images: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 of reconstructed images (targets, classes, h, w, channels) as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(images, dtype="<f4").tobytes()).hexdigest()


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as a compressed .npz, completely or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    atomic_write(path, buffer.getvalue())


def files_at(path: Path, pattern: str, source: str) -> list[Path]:
    """Return the files of a folder that match a pattern, sorted, or the one file.

    source: how records are made, for the message

    Raises UsageError if there is nothing.
    """
    if not path.exists():
        raise UsageError(f"No records at {path}: no such file or folder. {source}")
    return sorted(path.rglob(pattern)) if path.is_dir() else [path]


def json_of(file: Path) -> Any:
    """Return the content of a JSON file. Raises UsageError if it is invalid."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no record: {error}.") from None


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


def canonical(content: Any) -> bytes:
    """Return JSON that is the same for the same content: sorted names, no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
