"""Folders of the store; a link in them counts as itself, because it may lead out of the store."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def entries(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted; nothing if it is absent or a link."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def size_on_disk(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def discard(path: Path) -> None:
    """Remove a file, a folder with all below it, or a link but not its target."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
