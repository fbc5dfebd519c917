"""Content-addressed store: artifacts are published atomically and verified before they are used.

    root/<kind>/<key[:2]>/<key>/    manifest.json and the files that it lists with size and SHA-256
    root/.tmp/                      artifacts being written; `sweep` removes leftovers of dead processes
    root/.quarantine/               damaged artifacts, kept for diagnosis

A key is the SHA-256 of everything that shaped an artifact (docs/design.md, rule 8). Nothing is ever unpickled (rule 9).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from privbench.errors import CannotWrite, CorruptArtifact, UsageError
from privbench.store.artifact import RESERVED, Artifact, forget, intact, read, seal, seen
from privbench.store.atomic import NO_FOLDER, is_abandoned, sync_folder, temporary_name, try_writing
from privbench.store.folders import discard, entries, size_on_disk
from privbench.store.hashing import json_sha256
from privbench.store.reading import home, inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEMPORARY, QUARANTINE = ".tmp", ".quarantine"
READERS = 4
"""Number of artifacts that are verified at once: hashing is as fast as reading, and disks serve several readers."""
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]*")
_KEY = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


def default_root() -> Path:
    """Return the default folder of the store: $PRIVBENCH_STORE, or a folder in the user's cache."""
    named = os.environ.get("PRIVBENCH_STORE")
    return home(Path(named)) if named else platformdirs.user_cache_path("privbench") / "store"


def artifact_key(kind: str, manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256, as 64 hex digits, of the canonical JSON of [kind, manifest].

    Raises UsageError for values that JSON cannot represent exactly: NaN, infinity, keys other than text, other objects.
    """
    return json_sha256([kind, _plain(manifest, kind)])


class State(Enum):
    """State of an artifact in the store."""

    SOUND = "sound"
    ABSENT = "absent"
    DAMAGED = "damaged"


class Store:
    """Store in one folder, shared by any number of processes without locks."""

    def __init__(self, root: Path | str) -> None:
        self.root = home(Path(root)).absolute()

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def find(self, kind: str, manifest: Mapping[str, Any]) -> Artifact | None:
        """Return a verified artifact, or None if it was never made, or was removed.

        Files are compared with their SHA-256 once per process, and again when they change. Raises CorruptArtifact for
        a damaged artifact, which stays where it is; UsageError if the store cannot be read.
        """
        return self._intact(kind, artifact_key(kind, manifest))

    def again(self, artifact: Artifact) -> Artifact | None:
        """Return an artifact that was found before, if it is still there. Raises like `find`."""
        return self._intact(artifact.kind, artifact.key)

    def states(self, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[State]:
        """Return the states of artifacts, given their kinds and manifests; several are verified at once."""
        from concurrent.futures import ThreadPoolExecutor

        keys = [(kind, artifact_key(kind, manifest)) for kind, manifest in wanted]

        def state(kind_and_key: tuple[str, str]) -> State:
            try:
                return State.ABSENT if self._intact(*kind_and_key) is None else State.SOUND
            except CorruptArtifact:
                return State.DAMAGED

        found = {key: State.SOUND for key in keys if seen(self._folder(*key))}
        if unseen := [key for key in keys if key not in found]:
            with ThreadPoolExecutor(READERS) as readers:
                found.update(zip(unseen, readers.map(state, unseen), strict=True))
        return [found[key] for key in keys]

    def get(self, kind: str, manifest: Mapping[str, Any], *, told: bool = False) -> Artifact | None:
        """Return a verified artifact, or None if it must be computed (again); a damaged one is moved to quarantine.

        told: whether the user knows of the damage; else a warning is logged. Raises UsageError like `find`.
        """
        try:
            return self.find(kind, manifest)
        except CorruptArtifact as error:
            _log.log(logging.INFO if told else logging.WARNING, "%s It is moved to quarantine, and made again.", error)
            self._quarantine(self._folder(kind, artifact_key(kind, manifest)))
            return None

    @contextlib.contextmanager
    def write(self, kind: str, manifest: Mapping[str, Any]) -> Iterator[Path]:
        """Yield a folder for the files of one artifact; publish it at the end of the block, unless an exception occurs.

        If another process has published the same artifact in the meantime, that one stays. The folder must not contain
        subfolders. Raises CannotWrite if the store is not writable.
        """
        shaped_by = _plain(manifest, kind)
        key = json_sha256([kind, shaped_by])
        target = self._folder(kind, key)
        folder = self._temporary()
        try:
            try:
                yield folder
            except OSError as error:
                if error.filename is None or folder not in Path(error.filename).parents:
                    raise  # an error of the computation, not of writing the files
                with self._one_line("write to"):
                    raise
            with self._one_line("write to"):
                seal(folder, kind, key, shaped_by)
                self._publish(folder, target, kind, key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # moved away if published

    def temporary(self) -> Path:
        """Return a path for a folder of this process, not made yet; if it is left, `sweep` removes it later."""
        return self.root / TEMPORARY / temporary_name()

    def prepare(self) -> None:
        """Check that the store is writable, and remove leftovers. To be called before the first training.

        Raises CannotWrite. A run that finds everything in the store needs none of this, and no writable store.
        """
        self.ensure_writable()
        self.sweep()

    def ensure_writable(self) -> None:
        """Raise CannotWrite if the store is not writable."""
        folder = self._temporary()
        try:
            with self._one_line("write to"):
                try_writing(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def artifacts(self, kind: str | None = None) -> Iterator[Artifact]:
        """Yield published artifacts, by kind and key; those without a readable manifest are left to `verify`."""
        for folder, name, key in self._folders(kind):
            with contextlib.suppress(CorruptArtifact, FileNotFoundError):
                yield read(folder, name, key)

    def verify(self) -> Iterator[tuple[Artifact, str]]:
        """Yield every artifact with its fault in one line, or ""; every byte is read again."""
        for folder, kind, key in self._folders(None):
            forget(folder)
            try:
                with self._one_line("read"):
                    artifact = intact(folder, kind, key)
            except CorruptArtifact as error:
                yield _damaged(folder, kind, key), str(error)
            else:
                if artifact is not None:  # otherwise removed since it was listed
                    yield artifact, ""

    def remove(self, artifact: Artifact) -> None:
        """Remove an artifact; readers see all of it or nothing. Raises UsageError if it cannot be removed."""
        with self._one_line("write to"):
            folder = self.temporary()
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # already removed by another process
                inside(self.root, artifact.path.parent)
                artifact.path.rename(folder)
                discard(folder)

    def sweep(self, *, quarantine: bool = False) -> int:
        """Remove unfinished artifacts of dead processes of this host; return the number of bytes freed.

        quarantine: also remove damaged artifacts.
        """
        waste = [path for path in entries(self.root / TEMPORARY) if is_abandoned(path.name)]
        if quarantine:
            waste += entries(self.root / QUARANTINE)
        freed = 0
        for path in waste:
            size = size_on_disk(path)
            with contextlib.suppress(OSError):
                discard(path)
            freed += size if not os.path.lexists(path) else 0
        return freed

    def _intact(self, kind: str, key: str) -> Artifact | None:
        folder = self._folder(kind, key)
        with self._one_line("read"):
            return intact(folder, kind, key)

    def _temporary(self) -> Path:
        folder = self.temporary()
        with self._one_line("write to"):
            folder.mkdir(parents=True)
        return folder

    def _folder(self, kind: str, key: str) -> Path:
        if not _KIND.fullmatch(kind) or kind in RESERVED:
            raise ValueError(f"{kind!r} cannot name a kind of artifact: use lower-case letters, digits, '-' and '_'.")
        return self.root / kind / key[:2] / key

    def _folders(self, kind: str | None) -> Iterator[tuple[Path, str, str]]:
        for top in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            if _KIND.fullmatch(top.name) and kind in (None, top.name):
                for part in entries(top):
                    for folder in entries(part):
                        if _KEY.fullmatch(folder.name) and folder.name[:2] == part.name:
                            yield folder, top.name, folder.name

    def _publish(self, folder: Path, target: Path, kind: str, key: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.rename(target)
            except OSError:
                if not os.path.lexists(target):
                    raise
            else:
                for parent in list(target.parents)[:3]:
                    sync_folder(parent)
                return
            try:
                if intact(target, kind, key) is not None:
                    return
            except CorruptArtifact as error:
                _log.warning("%s It is moved to quarantine.", error)
                self._quarantine(target)

    def _quarantine(self, folder: Path) -> None:
        """Move a damaged artifact to quarantine, unless another process just did."""
        aside = self.root / QUARANTINE / f"{folder.parent.parent.name}-{folder.name[:16]}-{temporary_name()}"
        forget(folder)
        with self._one_line("write to"), contextlib.suppress(FileNotFoundError):
            inside(self.root, folder.parent)
            aside.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(aside)

    @contextlib.contextmanager
    def _one_line(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "it is not a folder" if isinstance(error, NO_FOLDER) else error.strerror or str(error)
            text = f"Cannot {verb} the store {self.root}: {reason}; name another with --store or PRIVBENCH_STORE."
            raise (UsageError(text) if verb == "read" else CannotWrite(text)) from error


def _plain(value: Any, where: str) -> Any:
    """Return the value in its JSON form, or raise UsageError."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise UsageError(f"{where} = {value!r} ({type(value).__name__}) cannot be part of a cache key: it is not JSON.")


def _damaged(folder: Path, kind: str, key: str) -> Artifact:
    """Return an artifact without manifest, for one that cannot be read."""
    changed = folder.stat().st_mtime if folder.exists() else 0
    created = datetime.fromtimestamp(changed, tz=timezone.utc)
    return Artifact(kind, key, folder, {}, created, size_on_disk(folder))
