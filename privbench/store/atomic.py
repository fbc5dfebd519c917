"""Atomic files and folders: they appear completely or not at all (docs/design.md, rule 8).

Unfinished files have a temporary name with their process, so that leftovers of a killed process can be distinguished
from the work of a running one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import platform
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from privbench.errors import CannotWrite

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_FOLDER = (FileExistsError, NotADirectoryError)
"""Errors of the system for a file in the place of a folder."""
PROBE = 4096
"""Bytes written to test whether a disk is full."""
_OWNED = re.compile(r"(?P<pid>[0-9]{1,10})-[0-9a-f]{8}-(?P<host>[0-9a-f]{8})")


def temporary_name() -> str:
    """Return a new name that identifies the process and host that own it."""
    return f"{os.getpid()}-{secrets.token_hex(4)}-{_host()}"


def is_abandoned(name: str) -> bool:
    """Return whether a temporary name is that of a process of this host that has ended.

    The state of processes on other hosts, which may share the folder, is unknown: they count as running.
    """
    owner = _OWNED.fullmatch(name)
    return owner is not None and owner["host"] == _host() and not _is_alive(int(owner["pid"]))


def atomic_write(path: Path | str, data: bytes) -> None:
    """Write a file so that its readers, and a crash at any instant, find the old content or the new, never a part.

    Also removes leftovers of earlier, killed writers of the same file. Raises OSError.
    """
    path = Path(path)
    for left in path.parent.glob(f".{_escaped(path.name)}.*.tmp"):
        if is_abandoned(left.name[len(path.name) + 2 : -len(".tmp")]):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{temporary_name()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def writing_into(folder: Path, what: str) -> Iterator[None]:
    """Raise CannotWrite, naming the folder, for write errors of the system in the block."""
    try:
        yield
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, NO_FOLDER) else error.strerror or str(error)
        raise CannotWrite(f"Cannot write {what} into {folder}: {reason}.") from error


def ensure_writable(folder: Path, what: str) -> None:
    """Raise CannotWrite if files cannot be written into a folder, which may not exist yet; leave no trace.

    Better before the first training than after it. Some bytes are written, because a disk may be full.
    """
    absent = list(itertools.takewhile(lambda each: not os.path.lexists(each), (folder, *folder.absolute().parents)))
    try:
        with writing_into(folder, what):
            folder.mkdir(parents=True, exist_ok=True)
            try_writing(folder)
    finally:
        for each in absent:
            with contextlib.suppress(OSError):
                each.rmdir()


def try_writing(folder: Path) -> None:
    """Write some bytes into a folder and remove them. Raises OSError on failure."""
    probe = folder / f".{temporary_name()}.tmp"
    try:
        probe.write_bytes(bytes(PROBE))
        sync_file(probe)
    finally:
        probe.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush the content of a file to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, if the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse to sync folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill(pid, 0) would send Ctrl-C there
        import ctypes

        query, still_active = 0x1000, 259
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(query, False, pid)
        code = ctypes.c_ulong(0)
        known = bool(handle) and bool(kernel.GetExitCodeProcess(handle, ctypes.byref(code)))
        kernel.CloseHandle(handle)
        return known and code.value == still_active
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # owned by another user
        return True
    return True
