"""Reading of records: each file is verified before it is used, and what is wrong with it is said in one line.

A record is used if its numbers are possible and it is as it was written: its digest is that of its content, and the
file of raw arrays beside it, where there is one, is its own. Whoever can write a record can also seal it, so this finds
damage and careless changes, not forgeries.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from privbench.errors import DataError, InvalidRecord, UsageError, one_line
from privbench.records.files import BANDS, READABLE, READERS, Filed, digest_of, kind_of, raw_fault, raw_file
from privbench.records.parts import Selection
from privbench.store.hashing import file_sha256
from privbench.store.reading import below, content, is_folder, outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

R = TypeVar("R", bound=Filed)

LARGEST = 1 << 24
"""Size in bytes of the largest file that is read as a record; usual ones have a thousandth of it."""
LONGEST = 300
"""Largest number of characters of a reason."""
CHANGED = "its content is not that of its digest, so it was changed or damaged; run its command again"


def refuse(invalid: InvalidRecord) -> None:
    """Raise the error."""
    raise invalid


def read(
    kind: type[R], paths: Iterable[Path], invalid: Callable[[InvalidRecord], None] = refuse
) -> list[tuple[Path, R]]:
    """Return the records of a kind in files and folders, sorted by path, each with its file.

    invalid: called for each file that is no valid record, which is left out

    Raises UsageError where there is nothing, and for a file that is named and is a record of the other kind.
    """
    records = []
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for names that no file can have
            raise UsageError(f"No records at {path}: no such file or folder. {kind.WRITTEN_BY}")
        for file in _files(path, invalid):
            try:
                record = _read(kind, file, mixed=file is not path)
            except InvalidRecord as error:  # noqa: PERF203 - the others are read
                invalid(error)
            else:
                records += [] if record is None else [(file, record)]
    return records


def _read(kind: type[R], file: Path, *, mixed: bool) -> R | None:
    """Return the record in a file; None for one of the other kind among others. Raises InvalidRecord, UsageError."""
    parsed = _json(file, _text(file))
    is_of = kind_of(parsed)
    if is_of and is_of != kind.KIND:
        if mixed:
            return None
        raise UsageError(f"{file} is the record of an {is_of}: `{READERS[is_of]}` reads it.")
    return _with_raw(_verified(kind, file, parsed), file)


def _files(path: Path, invalid: Callable[[InvalidRecord], None]) -> Iterator[Path]:
    """Yield a file, or all files of JSON in a folder, sorted; none that is a link out of the folder."""
    if not is_folder(path):
        yield path
        return
    try:
        files, links = below(path, path)
    except DataError as error:
        invalid(_invalid(path, str(error)))
        return
    for link in sorted(each for each in links if each.name.endswith(".json")):
        invalid(_invalid(link, str(outside(link, path))))
    yield from sorted(each for each in files if each.name.endswith(".json"))


def _text(file: Path) -> str:
    """Return the text of a file. Raises InvalidRecord unless it is a plain file of text, and not too large."""
    try:
        return content(file, LARGEST).decode()
    except OSError as error:
        raise _invalid(file, error.strerror or str(error)) from None
    except (DataError, UnicodeDecodeError) as error:
        raise _invalid(file, str(error)) from None


def _json(file: Path, text: str) -> Any:
    """Return what a text of JSON says. Raises InvalidRecord where it is none, or not a plain one."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_not_json)
    except RecursionError:
        raise _invalid(file, "it is nested too deeply") from None
    except ValueError as error:
        raise _invalid(file, str(error)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return entries


def _not_json(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _verified(kind: type[R], file: Path, content: Any) -> R:
    """Return the record of JSON. Raises InvalidRecord."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version not in READABLE:
        versions = " and ".join(map(str, READABLE))
        raise _invalid(file, f"schema_version is {version!r}; this privbench reads versions {versions}")
    try:
        record = kind.model_validate(content)
        if not _digested(record, content):
            raise _invalid(file, CHANGED if record.digest else "it has no digest")
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise _invalid(file, f"{where}: {problem['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise _invalid(file, one_line(error)) from None
    return record


def _digested(record: Filed, content: Mapping[str, Any]) -> bool:
    """Return whether the digest of a record is that of its JSON, in which other tools may write 1.0 as 1."""
    return record.digest == digest_of(type(record), content) or record.digest == record.compute_digest()


def _with_raw(record: R, file: Path) -> R:
    """Return a record, without what is known of its files. Raises InvalidRecord where its raw arrays are others."""
    raw = raw_file(record, file)
    if record.raw_digest and os.path.exists(raw):  # noqa: PTH110 - as above
        known = record.files.raw_sha256 if record.files is not None else ""
        if wrong := _other(raw, known) if known else raw_fault(record, raw):
            raise _invalid(file, f"{raw.name} beside it {wrong}; restore that file, or run the record's command again")
    about = {"files": None, **_bands(record, file)}
    return record.model_copy(update=about)


def _bands(record: Filed, file: Path) -> dict[str, Any]:
    """Return the bands in the file beside a record, if it has none itself and they are its own."""
    bands = file.with_suffix(BANDS)
    if "selection" not in type(record).model_fields or vars(record)["selection"] or not os.path.lexists(bands):
        return {}
    content = _json(bands, _text(bands))
    if not isinstance(content, dict) or content.get("digest") != record.digest:
        return {}
    try:
        return {"selection": Selection.model_validate(content.get("selection"))}
    except ValidationError as error:
        raise _invalid(bands, str(error.errors()[0]["msg"])) from None


def _other(raw: Path, known: str) -> str:
    """Return what is wrong with a file of raw arrays whose SHA-256 is known; "" if nothing is."""
    if not raw.is_file():
        return "is no plain file"
    try:
        return "" if file_sha256(raw) == known else "is not the file that was written with it"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _invalid(file: Path, reason: str) -> InvalidRecord:
    """Return the error for a file, in one line without control characters."""
    text = f"{file} is no valid record: {' '.join(reason.rstrip('.').split())[:LONGEST]}."
    return InvalidRecord("".join(each if each.isprintable() else ascii(each)[1:-1] for each in text))
