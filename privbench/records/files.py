"""Files of records: JSON with its digest, and arrays; the same for records of attacks and of audits."""

from __future__ import annotations

import functools
import io
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from privbench.data.archives import archive
from privbench.errors import CannotWrite, one_line
from privbench.records.parts import Files, Part
from privbench.store.atomic import atomic_write, writing_into
from privbench.store.hashing import file_sha256, json_sha256, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self

    from privbench.aliases import Array

SCHEMA_VERSION: Final = 2
"""The version that is written."""
READABLE = (1, 2)
"""Readable versions: a record of version 1 remains one, and keeps its digest."""
ATTACK, AUDIT = "attack", "audit"
"""Kinds of records. That of an audit names its `kind` (privbench.records.audit_record), the other has none."""
READERS = {ATTACK: "privbench leaderboard show", AUDIT: "privbench audit show"}
"""Commands that show the records of each kind."""
BANDS = ".bands"
"""Suffix of the file of a record's bands; its content is JSON."""
AUDIT_PREFIX = f"{AUDIT}-"
"""Prefix of the file names of audit records. Files are told apart by `kind`, not by their names."""


class Filed(Part):
    """A record of either kind: versioned JSON in a file, beside raw arrays."""

    ARRAYS: ClassVar[str]
    """Name of the arrays, which are in `<record>.<ARRAYS>.npz`."""
    NOT_REPRODUCED: ClassVar[frozenset[str]]
    """Fields excluded from a digest, because the record's command does not reproduce them."""
    LATER: ClassVar[frozenset[str]]
    """Fields added after the first records: part of a digest only if they differ from their default."""
    KIND: ClassVar[str]
    """ATTACK or AUDIT."""
    WRITTEN_BY: ClassVar[str]
    """Sentence for those who have no such records."""

    digest: str = Field("", description="SHA-256 of what the command reproduces on the same machine")
    files: Files | None = Field(None, description="null: a record from before there was this entry")

    @model_validator(mode="after")
    def _is_of_data(self) -> Self:
        told = vars(self)
        if told["status"] == "ok" and not told["data"].fingerprint:
            raise PydanticCustomError("range", "status is ok, but the data could not be loaded")
        return self

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces on the same machine."""
        return digest_of(type(self), json.loads(self.model_dump_json(exclude=set(self.NOT_REPRODUCED))))

    def sealed(self, **found: Any) -> Self:
        """Return the record with what was found, and with the digest of all of it."""
        record = self.model_copy(update=found)
        return record.model_copy(update={"digest": record.compute_digest()})

    def path(self, out: Path) -> Path:
        """Return where the record lies in a folder of records."""
        raise NotImplementedError

    @property
    def raw_digest(self) -> str:
        """The SHA-256 of the raw arrays; empty: there are none."""
        raise NotImplementedError

    def own(self, arrays: Mapping[str, Array]) -> bool:
        """Return whether raw arrays are those of the record."""
        raise NotImplementedError


def digest_of(kind: type[Filed], content: Mapping[str, Any]) -> str:
    """Return the digest of a record that is given as JSON."""
    absent = _absent(kind)
    return json_sha256(
        {
            name: value
            for name, value in content.items()
            if name not in kind.NOT_REPRODUCED and (name not in absent or value != absent[name])
        }
    )


@functools.lru_cache(maxsize=2)
def _absent(kind: type[Filed]) -> dict[str, Any]:
    """Return the values that mean the same as the absence of their fields."""
    return {name: kind.model_fields[name].get_default(call_default_factory=True) for name in kind.LATER}


def save(record: Filed, out: Path, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> Path:
    """Write a record, sealed, and its raw arrays beside it; return the record's path. Raises CannotWrite.

    arrays: none if those of an earlier call remain, or if there are none
    """
    path, record = record.path(out), record.sealed(files=None)
    raw = raw_file(record, path)
    for file in (path, raw):
        if file.is_dir():
            raise CannotWrite(f"Cannot write {file}: it is a folder; remove it.")
    with writing_into(out, "records"):
        path.parent.mkdir(parents=True, exist_ok=True)
        written = ""
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
            atomic_write(raw, buffer.getvalue())
            written = sha256(buffer.getvalue())
        elif not record.raw_digest:
            raw.unlink(missing_ok=True)  # of an earlier record of the cell, which had some
        elif raw.is_file() and not raw_fault(record, raw):
            written = file_sha256(raw)
        content = json.loads(record.model_dump_json(exclude={"files"}))
        content["digest"] = content.pop("digest")
        _save_bands(path.with_suffix(BANDS), content)
        content["files"] = {"raw_sha256": written}
        atomic_write(path, readable(content).encode())
    return path


def _save_bands(file: Path, content: dict[str, Any]) -> None:
    """Move the bands of a record into a file beside it: they tell of other attacks, and a record is one attack's."""
    selection = content.get("selection")
    if selection is None:
        file.unlink(missing_ok=True)
        return
    content["selection"] = None
    atomic_write(file, readable({"digest": content["digest"], "selection": selection}).encode())


def raw_file(record: Filed, file: Path) -> Path:
    """Return where the raw arrays of a record in a file lie."""
    return file.with_suffix(f".{record.ARRAYS}.npz")


def raw_fault(record: Filed, raw: Path) -> str:
    """Return why a file does not hold the raw arrays of a record; "" if it does."""
    try:
        with archive(raw, str(raw), "several") as arrays:
            own = record.own({name: arrays[name] for name in arrays.files})
            return "" if own else "holds other arrays than the record's"
    except Exception as error:  # noqa: BLE001 - the parsers of these formats raise anything for a damaged file
        return f"cannot be read ({one_line(error)})"


def scores_sha256(scores: npt.NDArray[np.float64], member: npt.NDArray[np.bool_]) -> str:
    """Return the SHA-256 of raw scores (targets, examples) as little-endian float64, then memberships as bytes."""
    return sha256(scores.astype("<f8"), member.astype("u1"))


def images_sha256(images: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 of reconstructed images (targets, classes, h, w, channels) as little-endian float32."""
    return sha256(images.astype("<f4"))


def kind_of(content: Any) -> str:
    """Return the kind of a record by its JSON, whatever its file is called: ATTACK, AUDIT, or "" for none of them."""
    if not isinstance(content, dict):
        return ""
    named, attacks = content.get("kind"), "attack" in content
    return AUDIT if named == AUDIT and not attacks else ATTACK if named is None and attacks else ""


def readable(content: Any) -> str:
    """Return indented JSON with each list of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", "", found[0]), text) + "\n"
