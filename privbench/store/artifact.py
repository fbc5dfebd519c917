"""Artifact of the store: a folder of arrays, tensors and JSON, with a manifest.json of their checksums."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from privbench.errors import CorruptArtifact, DataError
from privbench.store.atomic import sync_file, sync_folder
from privbench.store.hashing import file_sha256, json_sha256
from privbench.store.reading import JSON_LIMIT, content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from privbench.aliases import Array

FORMAT = 1
MANIFEST = "manifest.json"
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""File names that Windows reserves, with any suffix."""
_FILE = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_RACY = 100_000_000  # ns; two changes of a file within one tick of the clock have the same time
_ARRAY, _TENSORS, _JSON = ".npy", ".safetensors", ".json"
_LOST = {errno.EIO, errno.ENOTDIR}
"""Errors of the system if a part of the disk, or a folder, is no longer what it was."""
_verified: dict[Path, tuple[tuple[Any, ...], Artifact]] = {}
"""State of every file of an artifact when this process last compared it with its SHA-256, and the artifact."""


@dataclass(frozen=True)
class Artifact:
    """Computed result, with everything that shaped it.

    Its files are read by the names under which `save_array`, `save_tensors` and `save_json` saved them, with or
    without the suffix. Raises CorruptArtifact for a file that is missing or cannot be read.
    """

    kind: str
    key: str
    path: Path
    manifest: Mapping[str, Any] = field(compare=False)
    """Everything that shaped it, as passed to `Store.write`; empty if it cannot be read."""
    created: datetime = field(compare=False)
    """Time of creation, UTC."""
    size: int = field(compare=False)
    """Bytes."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    """SHA-256 and size of each file."""

    def array(self, name: str) -> Array:
        """Return an array, memory-mapped and read-only."""
        import numpy as np

        with self._reading(name):
            array: Array = np.load(_named(self.path / name, _ARRAY), mmap_mode="r", allow_pickle=False)
            return array

    def tensors(self, name: str) -> dict[str, Array]:
        """Return arrays by name, in memory and writable."""
        from safetensors.numpy import load_file

        with self._reading(name):
            tensors: dict[str, Array] = load_file(_named(self.path / name, _TENSORS))
            return tensors

    def json(self, name: str) -> Any:
        """Return a JSON document."""
        with self._reading(name):
            return json.loads(_named(self.path / name, _JSON).read_bytes())

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            holds = ", ".join(self.files) or "nothing"
            reason = " ".join(str(error).split())
            raise CorruptArtifact(
                f"Cannot read {name!r} of stored {self.kind} {self.key[:16]}, which holds {holds}: {reason}"
            ) from error


def save_array(path: Path, array: Array) -> None:
    """Save one array as path.npy. Raises ValueError for an array of objects."""
    import numpy as np

    with _saving(_named(path, _ARRAY)) as file:
        np.save(file, array, allow_pickle=False)


def save_tensors(path: Path, arrays: Mapping[str, Array]) -> None:
    """Save arrays of any layout and byte order, by name, as path.safetensors."""
    import numpy as np
    from safetensors.numpy import save_file

    # safetensors writes raw memory: strided or big-endian arrays would be read back as other numbers
    plain = {name: np.array(a, dtype=np.asarray(a).dtype.newbyteorder("<"), order="C") for name, a in arrays.items()}
    with _saving(_named(path, _TENSORS)) as file:
        save_file(plain, file)


def save_json(path: Path, value: Any) -> None:
    """Save a JSON document as path.json. Raises ValueError for NaN and infinity, which JSON does not support."""
    text = json.dumps(value, allow_nan=False, indent=1) + "\n"
    with _saving(_named(path, _JSON)) as file:
        file.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _saving(file: Path) -> Iterator[Path]:
    """Turn any error of a library that writes into an OSError with the name of the file."""
    from safetensors import SafetensorError

    try:
        yield file
    except OSError as error:  # the error of NumPy on a full disk has no number
        number = error.errno or errno.ENOSPC
        raise OSError(number, os.strerror(number), str(file)) from error
    except SafetensorError as error:
        number = int(match[1]) if (match := re.search(r"os error (\d+)", str(error))) else errno.EIO
        raise OSError(number, os.strerror(number), str(file)) from error


def seal(folder: Path, kind: str, key: str, manifest: Mapping[str, Any]) -> None:
    """List the files of a folder in its manifest.json, and flush everything to the disk.

    Raises ValueError for anything but plain files, and for file names that are invalid on some system.
    """
    files: dict[str, dict[str, Any]] = {}
    taken = {MANIFEST}
    for path in sorted(folder.iterdir()):
        name = path.name
        if not _FILE.fullmatch(name) or name.lower() in taken or name.partition(".")[0].lower() in RESERVED:
            raise ValueError(f"{name!r} cannot name a file of an artifact on every system; use other letters, digits.")
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{name!r} is no plain file; an artifact holds files, side by side.")
        sync_file(path)
        taken.add(name.lower())
        files[name] = {"sha256": file_sha256(path), "size": path.stat().st_size}
    created = datetime.now(timezone.utc).isoformat()
    body = {"created": created, "files": files, "format": FORMAT, "key": key, "kind": kind, "manifest": manifest}
    (folder / MANIFEST).write_bytes(_rendered({**body, "checksum": json_sha256(body)}))
    sync_file(folder / MANIFEST)
    sync_folder(folder)


def read(folder: Path, kind: str, key: str) -> Artifact:
    """Return an artifact from its manifest; its other files are not checked.

    Raises FileNotFoundError if there is none, CorruptArtifact if any bit of the manifest has changed.
    """
    where = f"Stored {kind} {key[:16]}: {MANIFEST!r}"
    found = _manifest(folder, f"Stored {kind} {key[:16]}", where)
    try:
        parsed = json.loads(found)
        body = {name: value for name, value in parsed.items() if name != "checksum"}
        if body["format"] != FORMAT:
            raise CorruptArtifact(f"{where} has format {body['format']!r}; this version reads {FORMAT}.")
        if found != _rendered(parsed) or parsed["checksum"] != json_sha256(body):
            raise CorruptArtifact(f"{where} has other content than was written.")
        if (kind, key) != (body["kind"], body["key"]) or key != json_sha256([kind, body["manifest"]]):
            raise CorruptArtifact(f"{where} belongs to another artifact.")
        size = len(found) + sum(entry["size"] for entry in body["files"].values())
        created = datetime.fromisoformat(body["created"])
        return Artifact(kind, key, folder, body["manifest"], created, size, body["files"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError, OverflowError):
        raise CorruptArtifact(f"{where} cannot be read: it is not what privbench writes.") from None


def _manifest(folder: Path, artifact: str, where: str) -> bytes:
    """Return the content of a manifest; artifact, where: the artifact and the file, in messages."""
    try:
        mode = folder.lstat().st_mode
    except NotADirectoryError:
        raise FileNotFoundError(folder) from None
    if not stat.S_ISDIR(mode):
        raise CorruptArtifact(f"{artifact} is not a folder.")
    try:
        if not stat.S_ISREG((folder / MANIFEST).lstat().st_mode):
            raise CorruptArtifact(f"{where} is not a file.")
        return content(folder / MANIFEST, JSON_LIMIT)
    except FileNotFoundError:
        if not folder.exists():  # removed in the meantime
            raise
        raise CorruptArtifact(f"{where} is missing.") from None
    except DataError as error:
        raise CorruptArtifact(f"{where} cannot be read: {error}") from None


def intact(folder: Path, kind: str, key: str) -> Artifact | None:
    """Return a verified artifact, or None if there is none.

    Files are verified once per process, and again if they seem changed. Raises CorruptArtifact.
    """
    if known := seen(folder):
        return known
    try:
        artifact = read(folder, kind, key)
        looks = _looks(folder)
        sizes = {name: size for name, size, *_ in looks}
        for name in sorted({*sizes, *artifact.files} - {MANIFEST}):
            fault = _fault(folder / name, sizes.get(name), artifact.files.get(name))
            if fault:
                raise CorruptArtifact(f"Stored {kind} {key[:16]}: {name!r} {fault}.")
    except FileNotFoundError:  # never existed, or removed in the meantime
        return None
    except OSError as error:
        if error.errno not in _LOST:
            raise
        raise CorruptArtifact(f"Stored {kind} {key[:16]} cannot be read: {error.strerror}.") from None
    if max(changed for _, _, changed, _ in looks) < time.time_ns() - _RACY:
        _verified[folder] = looks, artifact
    return artifact


def seen(folder: Path) -> Artifact | None:
    """Return an artifact that was verified in this process, and seems unchanged since; else None."""
    looks, artifact = _verified.get(folder, ((), None))
    try:
        return artifact if artifact and not folder.is_symlink() and looks == _looks(folder) else None
    except OSError:
        return None


def forget(folder: Path) -> None:
    """Verify the files of an artifact again at its next use."""
    _verified.pop(folder, None)


def _looks(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return name, size, time of change and inode of each file of an artifact, the manifest's too."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    return tuple(sorted((name, each.st_size, each.st_mtime_ns, each.st_ino) for name, each in found))


def _fault(path: Path, size: int | None, listed: Mapping[str, Any] | None) -> str:
    if listed is None:
        return "does not belong there"
    if size is None:
        return "is missing"
    if size != listed["size"]:
        return f"has {size} bytes, but was written with {listed['size']}"
    if path.is_symlink() or not path.is_file() or file_sha256(path) != listed["sha256"]:
        return "has other content than was written"
    return ""


def _rendered(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, allow_nan=False, indent=1) + "\n").encode("ascii")


def _named(path: Path, suffix: str) -> Path:
    return path if path.name.endswith(suffix) else path.with_name(path.name + suffix)
