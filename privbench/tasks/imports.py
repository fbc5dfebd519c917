"""Turn a .npz file, a .csv table or a folder of images into a checked data set that `npz:path=NAME` finds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.atomic import atomic_write, writing_into
from privbench.errors import BadOption, DataError, did_you_mean
from privbench.options import build
from privbench.tasks.arrays import inputs, raw, same_kind
from privbench.tasks.base import Part, Source
from privbench.tasks.downloads import data_root
from privbench.tasks.duplicates import duplicates
from privbench.tasks.folders import SUFFIXES, folder, numbered
from privbench.tasks.images import npz_bytes
from privbench.tasks.npz import IMPORTED, NAME, Npz

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from privbench.data import Dataset
    from privbench.tasks.folders import Parts

    Array = npt.NDArray[Any]

__all__ = ["SUFFIXES", "Imported", "import_data"]


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    path: Path
    spec: str
    """What to write after `npz:path=`."""
    dataset: Dataset
    duplicates: int
    """Examples whose input occurs more than once."""


def import_data(
    path: Path, *, name: str | None = None, label: str | None = None, size: int | None = None, root: Path | None = None
) -> Imported:
    """Check a data set, number its classes in sorted order, and write ROOT/imported/NAME.npz: same data, same bytes.

    Raises DataError, and writes nothing, where the data cannot make a task; BadOption for a name or an option that
    does not fit.
    """
    path = path.expanduser()
    chosen = name or re.sub(r"[^A-Za-z0-9_-]+", "-", path.resolve().stem).strip("-_")
    if not NAME.fullmatch(chosen):
        raise BadOption(f"--name {chosen!r}: use letters, digits, '-' and '_'.")
    arrays, classes = numbered(_read(path, label, size), path)
    same_kind([x for x, _ in arrays.values()], path.name)
    parts = {role: Part(x, y) for role, (x, y) in arrays.items()}
    target = data_root(root) / IMPORTED / f"{chosen}.npz"
    dataset = build(Npz, {"path": str(target)}).assemble(Source(parts["train"], parts.get("test"), classes, chosen))
    flat = {f"{key}_{role}": array for role, pair in arrays.items() for key, array in zip("xy", pair, strict=True)}
    with writing_into(target.parent, target.name):
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, npz_bytes(flat))
    spec = chosen if data_root(root) == data_root() else str(target)
    return Imported(target, spec, dataset, duplicates(dataset))


def _read(path: Path, label: str | None, size: int | None) -> Parts:
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if not path.exists():
        raise DataError(f"There is no {path}; import a .npz file, a .csv file or a folder of images.")
    if label is not None and kind != ".csv":
        raise BadOption(f"--label is for .csv files, but {path} is none.")
    if size is not None and kind != "folder":
        raise BadOption(f"--size is for folders of images, but {path} is none.")
    if kind == "folder":
        return folder(path, size)
    if kind == ".csv":
        return _table(path, label)
    if kind == ".npz":
        return {role: (inputs(part.x, path.name, part.x_key), part.y) for role, part in raw(path).items()}
    raise DataError(f"Cannot import {path}: expected a .npz file, a .csv file or a folder of images.")


def _table(path: Path, label: str | None) -> Parts:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{path} is no readable .csv file: {' '.join(str(error).split())}") from None
    columns = [str(column) for column in frame.columns]
    frame.columns = pd.Index(columns)
    if label is None:
        raise BadOption(f"Which column holds the classes? Give --label COLUMN. Columns: {_listing(columns)}.")
    if label not in columns:
        raise BadOption(
            f"{path.name} has no column {label!r}.{did_you_mean(label, columns)} Columns: {_listing(columns)}."
        )
    y, table = frame[label], frame.drop(columns=label)
    words = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
    if words:
        raise DataError(
            f"{path.name}: {_listing(words)} hold no numbers; encode them, for example one column per value."
        )
    empty = [column for column in frame if frame[column].isna().any()]
    if empty:
        raise DataError(f"{path.name}: {_listing(empty)} have empty cells; fill them, or leave those rows out.")
    if not len(table.columns):
        raise DataError(f"{path.name}: {label!r} is the only column; there is nothing to learn from.")
    labels = y.to_numpy()
    if labels.dtype.kind not in "biuf":
        labels = y.astype(str).to_numpy(dtype=np.str_)
    return {"train": (inputs(table.to_numpy(dtype=np.float64), path.name), labels)}


def _listing(names: list[Any]) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")  # noqa: PLR2004 - enough to recognise
