"""Imported data sets, and the folder of all data sets."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from privbench.errors import did_you_mean
from privbench.store.reading import home, is_file, is_folder

IMPORTED = "imported"
"""Folder of imported data sets below the data root."""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
"""Of files that hold tables, which are imported before they are used."""


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder of all data sets: `root`, else PRIVBENCH_DATA, else the user's data folder."""
    import platformdirs

    given = root or os.environ.get("PRIVBENCH_DATA")
    return Path(given).expanduser() if given else platformdirs.user_data_path("privbench")


def imported() -> list[str]:
    """Return the names of imported data sets, sorted."""
    return sorted(path.stem for path in (data_root() / IMPORTED).glob("*.npz") if is_file(path))


def of_imported(name: str) -> str:
    """Return, for an unknown task name, how to use the imported data set of that name, or an empty text."""
    return f" Imported data go by npz:path={name}." if name in imported() else ""


def of_data(name: str) -> str:
    """Return, for an unknown task name, how to use a file, folder or similar imported data set, or an empty text."""
    path = home(Path(name))
    if is_folder(path) or (is_file(path) and path.suffix.lower() in SUFFIXES):
        return to_import(path)
    return did_you_mean(name, imported()).replace("'", "'npz:path=", 1)


def to_import(path: Path) -> str:
    """Return the command that imports a table or a folder of images as a data set."""
    label = "" if path.is_dir() else " --label COLUMN"
    return f" Import it first: privbench data import {shlex.quote(str(path))}{label}."
