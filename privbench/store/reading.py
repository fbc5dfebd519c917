"""Guard of all readers of files: plain files of bounded size and depth, and one line for whatever a reader raises.

The parsers of the formats promise no exceptions: hostile and damaged files make them raise MemoryError, RecursionError,
OverflowError, TypeError and others. A pipe or a device would be read forever.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from privbench.errors import DataError, PrivbenchError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privbench.errors import UsageError

PLAIN = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
"""Flags of systems that have them: opening a pipe does not wait for its writer."""
JSON_LIMIT, TOML_LIMIT = 1 << 26, 1 << 20
"""Largest sizes in bytes of manifests and of TOML."""
DEPTH = 64
"""Largest number of nested lists and tables in TOML."""
NOT_PLAIN = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)
PASSED_ON = (PrivbenchError, KeyboardInterrupt, SystemExit, GeneratorExit)


@contextlib.contextmanager
def guarded(where: str, right: str, error: type[UsageError] = DataError) -> Iterator[None]:
    """Turn whatever the block raises, but for our own errors and Ctrl-C, into one line.

    where: the file, and what it is not: "x.npz is no readable .npz file"
    right: what would be right; if empty, the reason says so
    """
    try:
        yield
    except PASSED_ON:
        raise
    except MemoryError as raised:
        raise error(f"{where}, or does not fit into memory{right and '; '}{right}.") from raised
    except BaseException as raised:
        raise error(f"{where}; {right} ({_reason(raised)})." if right else f"{where}: {_reason(raised)}.") from raised


def _reason(error: BaseException) -> str:
    """Return the reason without the type where the text is meant for readers."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = one_line(error)
    return (text.removeprefix(f"{type(error).__name__}: ") if isinstance(error, ValueError) else text).rstrip(".")


def fault(path: Path) -> str:
    """Return why a path is no plain file, such as "is a folder"; "" for a plain file, also through a link."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link to a file that does not exist" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:  # ValueError for names that no file can have
        return f"cannot be read, {getattr(error, 'strerror', None) or error}"
    return next((text for is_kind, text in NOT_PLAIN if is_kind(mode)), "")


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False for any name that no folder can have."""
    return fault(path) == "is a folder"


def is_file(path: Path) -> bool:
    """Return whether a path is a plain file; False for any name that no file can have."""
    return not fault(path)


def home(path: Path) -> Path:
    """Return a path with ~ as the user's folder. Raises DataError for a user who does not exist."""
    with guarded(f"{path}: no such folder", "write the path without ~"):
        return path.expanduser()


def opened(path: Path, where: str = "") -> BinaryIO:
    """Open a plain file for reading. Raises DataError for anything else, OSError if it cannot be opened.

    where: the file in messages.
    """
    found = fault(path)
    if found:
        raise DataError(f"{where or path}: {found}; give a file.")
    descriptor = os.open(path, os.O_RDONLY | PLAIN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # replaced in the meantime
        os.close(descriptor)
        raise DataError(f"{where or path}: it is no plain file any more; give a file.")
    return os.fdopen(descriptor, "rb")


def content(path: Path, limit: int) -> bytes:
    """Return the bytes of a plain file. Raises DataError if there are more than `limit`, and OSError."""
    with opened(path) as file:
        found = file.read(limit + 1)
    if len(found) > limit:
        raise DataError(f"{path} has more than {limit >> 10:,} kB; give a smaller file.")
    return found


def toml_of(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file. Raises DataError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with guarded(f"{path} is not valid TOML", ""):
        found: dict[str, Any] = shallow(tomllib.loads(content(path, TOML_LIMIT).decode("utf-8")))
        return found


def shallow(value: Any) -> Any:
    """Return the value. Raises ValueError if lists and dictionaries are nested more than DEPTH times."""
    level = [value]
    for _ in range(DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {DEPTH} times")


def _inside(value: Any) -> list[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inside if isinstance(each, (dict, list))]


def below(folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Return the files below a folder, sorted, and the links that lead out of `root`, which are not followed.

    Links to other files below `root` count as files; links to folders do not. Raises DataError.
    """
    files: list[Path] = []
    links: list[Path] = []
    waiting = [inside(root, folder)]
    with guarded(f"{folder} cannot be listed", "give a folder that can be read"):
        top = root.resolve()
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if entry.is_symlink() and not path.resolve().is_relative_to(top):
                        links.append(path)
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif not entry.is_dir():
                        files.append(path)
    return sorted(files), sorted(links)


def files_below(folder: Path, root: Path) -> list[Path]:
    """Return the files below a folder, sorted. Raises DataError, also for a link that leads out of `root`."""
    files, links = below(folder, root)
    for link in links:
        raise outside(link, root)
    return files


def folders_in(folder: Path, root: Path) -> list[Path]:
    """Return the folders in a folder, sorted, and links to such. Raises DataError if one leads out of `root`."""
    with guarded(f"{folder} cannot be listed", "give a folder that can be read"):
        return [inside(root, each) for each in sorted(folder.iterdir()) if each.is_dir()]


def inside(root: Path, path: Path) -> Path:
    """Return a path. Raises DataError if it is not below `root`, as through a link that leads out of it."""
    with guarded(f"{path} cannot be read", "give a folder that can be read"):
        if not path.resolve().is_relative_to(root.resolve()):
            raise outside(path, root)
    return path


def outside(link: Path, root: Path) -> DataError:
    """Return the error for a link that leads out of a folder."""
    return DataError(f"{link} is a link out of {root}, which is not followed; put the files themselves there.")


def memory() -> float:
    """Return the bytes of this machine's memory; infinity if the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf
