"""Import of a .npz file, a table or a folder of images as a checked data set for `npz:path=NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.builtin.tasks.npz import NAME, Npz
from privbench.data.arrays import inputs, raw, same_kind
from privbench.data.duplicates import duplicated
from privbench.data.folders import SUFFIXES, folder, numbered
from privbench.data.images import npz_bytes
from privbench.data.imported import IMPORTED, data_root
from privbench.data.imported import SUFFIXES as TABLES
from privbench.data.source import Part, Source
from privbench.errors import BadOption, DataError
from privbench.external.exactness import alike, exactly
from privbench.external.features import doubtful_classes, features_and_classes
from privbench.options.fields import build
from privbench.store.atomic import atomic_write, writing_into
from privbench.store.reading import fault, home, is_folder

if TYPE_CHECKING:
    from pathlib import Path

    from privbench.aliases import Array
    from privbench.data.dataset import Dataset
    from privbench.data.folders import Parts

__all__ = ["SUFFIXES", "Imported", "import_data"]


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    path: Path
    spec: str
    """Text after `npz:path=` that selects the data set."""
    dataset: Dataset
    duplicates: int
    """Number of examples whose input occurs more than once, compared in their original type."""
    labels: tuple[str, ...]
    """Names of the classes in the source, in the order of their numbers."""
    notes: tuple[str, ...]
    """Sentences about conversions of the data."""
    warnings: tuple[str, ...]
    """Sentences about doubtful data."""


class _Read(NamedTuple):
    parts: Parts
    exact: list[Array]
    """Inputs of each part in their original type, (n, ...)."""
    notes: list[str]
    warnings: list[str]


def import_data(
    path: Path, *, name: str | None = None, label: str | None = None, size: int | None = None, root: Path | None = None
) -> Imported:
    """Check a data set, number its classes in sorted order, and write ROOT/imported/NAME.npz: same data, same bytes.

    Raises DataError, and writes nothing, if the data are not a valid task; BadOption for an invalid name or option.
    """
    path = home(path)
    path = path if path.name else path.resolve()  # the current folder, "."
    if (found := fault(path)) not in ("", "is a folder"):
        what = f"There is no {path}" if found == "no such file" else f"{path} {found}"
        raise DataError(f"{what}; import a .npz file, a table or a folder of images.")
    chosen = name or re.sub(r"[^A-Za-z0-9_-]+", "-", path.resolve().stem).strip("-_")
    if not NAME.fullmatch(chosen):
        wrong = f"--name {name!r}" if name else f"{path.name!r} gives no valid name; give --name NAME"
        raise BadOption(f"{wrong}: use letters, digits, '-' and '_'.")
    read = _read(path, label, size)
    arrays, classes = numbered(read.parts, path)
    same_kind([x for x, _ in arrays.values()], path.name)
    parts = {role: Part(x, y) for role, (x, y) in arrays.items()}
    target = data_root(root) / IMPORTED / f"{chosen}.npz"
    dataset = build(Npz, {"path": str(target)}).assemble(Source(parts["train"], parts.get("test"), classes, chosen))
    flat = {f"{key}_{role}": array for role, pair in arrays.items() for key, array in zip("xy", pair, strict=True)}
    with writing_into(target.parent, target.name):
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, npz_bytes(flat))
    spec = chosen if data_root(root) == data_root() else str(target)
    again = int(duplicated(np.concatenate(alike(*map(exactly, read.exact)))).sum())
    labels = tuple(map(str, np.unique(read.parts["train"][1]).tolist()))
    return Imported(target, spec, dataset, again, labels, tuple(read.notes), tuple(read.warnings))


def _read(path: Path, label: str | None, size: int | None) -> _Read:
    kind = "folder" if is_folder(path) else path.suffix.lower()
    if label is not None and kind not in TABLES:
        raise BadOption(f"--label is for tables ({', '.join(TABLES)}), but {path} is not one.")
    if size is not None and kind != "folder":
        raise BadOption(f"--size is for folders of images, but {path} is not one.")
    if kind == "folder":
        parts, notes = folder(path, size)
        return _Read(parts, [x for x, _ in parts.values()], notes, [])
    if kind in TABLES:
        table = features_and_classes(path, label)
        doubts = doubtful_classes(table.y, path.name)
        return _Read({"train": (table.x, table.y)}, [table.exact], table.notes, [*table.warnings, *doubts])
    if kind == ".npz":
        found = raw(path)
        parts = {role: (inputs(part.x, path.name, part.x_key), part.y) for role, part in found.items()}
        return _Read(parts, [part.x for part in found.values()], [], doubtful_classes(parts["train"][1], path.name))
    raise DataError(f"Cannot import {path}: expected a .npz file, a table ({', '.join(TABLES)}) or a folder of images.")
