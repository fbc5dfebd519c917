"""Turn a .npz file, a .csv table or a folder of images into a checked data set that `npz:path=NAME` finds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.atomic import atomic_write
from privbench.errors import BadOption, DataError, did_you_mean
from privbench.options import build
from privbench.tasks.arrays import inputs, raw, same_kind
from privbench.tasks.base import Part, Source
from privbench.tasks.downloads import data_root
from privbench.tasks.duplicates import duplicates
from privbench.tasks.images import ImageFiles, npz_bytes
from privbench.tasks.npz import IMPORTED, NAME, Npz

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from privbench.data import Dataset

    Array = npt.NDArray[Any]
    Parts = dict[str, tuple[Array, Array]]  # "train" and perhaps "test" -> inputs, labels of any kind

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


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
    arrays, classes = _numbered(_read(path, label, size), path)
    same_kind([x for x, _ in arrays.values()], path.name)
    parts = {role: Part(x, y) for role, (x, y) in arrays.items()}
    target = data_root(root) / IMPORTED / f"{chosen}.npz"
    dataset = build(Npz, {"path": str(target)}).assemble(Source(parts["train"], parts.get("test"), classes, chosen))
    flat = {f"{key}_{role}": array for role, pair in arrays.items() for key, array in zip("xy", pair, strict=True)}
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
        return _folder(path, size)
    if kind == ".csv":
        return _table(path, label)
    if kind == ".npz":
        return {role: (inputs(part.x, path.name, part.x_key), part.y) for role, part in raw(path).items()}
    raise DataError(f"Cannot import {path}: expected a .npz file, a .csv file or a folder of images.")


def _numbered(parts: Parts, path: Path) -> tuple[Parts, int]:
    """Give the classes the numbers 0 to classes - 1, in the order of their sorted labels in the training part."""
    numbered: Parts = {}
    for role, (_, y) in parts.items():
        if y.ndim != 1 or y.dtype.kind not in "buifU":
            raise DataError(f"{path.name}: {role} labels are {y.dtype} of shape {y.shape}; expected one per example.")
    known = np.unique(parts["train"][1])
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        raise DataError(f"{path.name}: some labels are NaN or infinite; leave those examples out.")
    for role, (x, y) in parts.items():
        strange = np.setdiff1d(y, known)
        if len(strange):
            raise DataError(
                f"{path.name}: the test part has class {strange[0]}, of which there is no training example."
            )
        numbered[role] = x, np.searchsorted(known, y).astype(np.int64)
    return numbered, max(len(known), 2)


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


def _folder(path: Path, size: int | None) -> Parts:
    split = (path / "train").is_dir()
    homes = {role: path / role if split else path for role in (("train", "test") if split else ("train",))}
    found = {role: pairs for role, home in homes.items() if home.is_dir() and (pairs := _images(home))}
    files = [file for pairs in found.values() for file, _ in pairs]
    if "train" not in found:
        raise DataError(
            f"{path} holds no images in subfolders; expected CLASS/image.png, or train/CLASS and test/CLASS."
        )
    grey = all(_is_grey(file, path.name) for file in files)  # then one channel holds them
    parts: Parts = {}
    for role, pairs in found.items():
        reader = ImageFiles([file for file, _ in pairs], path.name, size=size, grey=grey)
        try:
            x = reader[np.arange(len(pairs))]
        except DataError as error:
            hint = "; give --size 32, for example" if size is None and "resize" in str(error) else ""
            raise DataError(str(error).rstrip(".") + hint + ".") from None
        parts[role] = inputs(x, path.name), np.array([label for _, label in pairs], dtype=np.str_)
    return parts


def _images(home: Path) -> list[tuple[Path, str]]:
    """Return the image files below each subfolder, and the subfolder's name, in sorted order."""
    folders = sorted(folder for folder in home.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return [
        (file, folder.name)
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def _is_grey(file: Path, name: str) -> bool:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.mode in {"1", "L", "LA"}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DataError(f"{name}: {file} is no readable image; repair it, or remove it.") from None


def _listing(names: list[Any]) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")  # noqa: PLR2004 - enough to recognise
