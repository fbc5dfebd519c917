"""Files of records: JSON with its digest, and arrays; the same for records of attacks and of audits."""

from __future__ import annotations

import fnmatch
import io
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from privbench.errors import UsageError
from privbench.records.parts import Part
from privbench.store.atomic import atomic_write, writing_into
from privbench.store.hashing import json_sha256, sha256
from privbench.store.reading import below, fault, inside, is_folder, json_of

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
        if (found := fault(path)) not in ("", "is a folder"):
            found = found.replace("such file", "such file or folder")
            raise UsageError(f"No records at {path}: {found}. {source}")
        for file in _matching(path, pattern) if is_folder(path) else [path]:
            yield file, json_of(file, "record"), is_folder(path)


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files below a folder that match a pattern. Raises DataError for one that is a link out of it."""
    files, links = below(folder, folder)
    for file in sorted([*files, *links]):
        if fnmatch.fnmatchcase(file.name, pattern) and not is_folder(file):
            yield inside(folder, file)


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
