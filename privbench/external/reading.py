"""Reader of one user data set: a file, a folder, an array, a data frame, a tensor, a list or a pair (x, y)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from privbench.data import arrays
from privbench.data.archives import single
from privbench.data.dataset import Examples
from privbench.data.imported import SUFFIXES
from privbench.errors import BadOption, DataError, did_you_mean
from privbench.external import files
from privbench.external.conversion import NUMERIC, as_array, columns_of
from privbench.external.features import check_numbers, listing
from privbench.external.tables import classes, read_table
from privbench.store.reading import home, is_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array

Given: TypeAlias = "str | Path | Mapping[str, Any] | Examples | tuple[Any, Any] | Array | Sequence[Any]"
"""Also data frames and tensors."""

INPUTS = ("x", "data", "images", "samples", "x_train", "train_images")
LABELS = ("y", "labels", "y_train", "train_labels")
PAIR = 2


@dataclass(frozen=True, eq=False)
class OneSet:
    """One set of examples in its original type.

    name: name in messages.
    x: an array of images or of rows, or named columns (n,) of numbers.
    y: labels, integers or texts; None without labels.
    notes: sentences about conversions.
    """

    name: str
    x: Array | dict[str, Array]
    y: Array | None = None
    notes: tuple[str, ...] = ()
    is_scaled: bool = False
    """Whether images had more than 8 bits per channel."""

    def __len__(self) -> int:
        return len(self.x if isinstance(self.x, np.ndarray) else next(iter(self.x.values())))


def one_set(given: Given, role: str, label: str | None = None) -> OneSet:
    """Read one set. Raises DataError with the fault and its correction.

    given: the set.
    role: real, synthetic or holdout.
    label: column of labels, for named columns.
    """
    name = f"{role} ({Path(given).name})" if isinstance(given, (str, Path)) else role
    if isinstance(given, tuple) and len(given) == PAIR and _dimensions(given[0]) > _dimensions(given[1]):
        return _labelled(one_set(given[0], role, label), given[1], "y")
    columns, notes = _named(given, name, label)
    if columns is not None:
        return _of_columns(columns, name, label, notes)
    if label is not None:
        raise BadOption(f"{name}: {label!r} cannot be the column of labels; only tables with named columns have one.")
    if isinstance(given, Examples):
        return OneSet(name, given.x, given.y)
    if isinstance(given, (str, Path)):
        path = home(Path(given))
        if is_folder(path):
            from privbench.external.pictures import folder

            x, said = folder(path, name)
            return OneSet(name, x, notes=tuple(said), is_scaled=bool(said))
        given = {"x": single(path)} if path.suffix == ".npy" else files.read(path)
    return _of_mapping(given, name) if isinstance(given, Mapping) else _of_array(given, name, "x")


def _dimensions(value: Any) -> int:
    """Return the number of dimensions of a value; 0 for None and for anything but an array."""
    try:
        return int(np.ndim(value))
    except (TypeError, ValueError):
        return 0


def _named(given: Given, name: str, label: str | None) -> tuple[Mapping[str, Array] | None, tuple[str, ...]]:
    """Return the columns of a table file or of a data frame with column names, and notes; None for anything else."""
    if isinstance(given, (str, Path)):
        path = home(Path(given))
        if is_folder(path) or path.suffix.lower() not in SUFFIXES:
            return None, ()
        table = read_table(path, lambda column: column == label)
        if table.empty:
            cells = ", ".join(f"{column!r} {count}" for column, count in list(table.empty.items())[:10])
            raise DataError(f"{name} has empty cells ({cells}); fill them, or leave those rows out.")
        return table.columns, tuple(f"{name}: {note}" for note in table.notes)
    columns = columns_of(given)
    names = [str(column) for column in columns]
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has several columns called {twice!r}; give each its own name.")
    frame: Any = given
    found = {
        key: as_array(frame[column], f"{name}: column {key!r}") for key, column in zip(names, columns, strict=True)
    }
    return found or None, ()


def _of_columns(columns: Mapping[str, Array], name: str, label: str | None, notes: tuple[str, ...]) -> OneSet:
    if label is not None and label not in columns:
        raise BadOption(
            f"{name} has no column {label!r}.{did_you_mean(label, columns)} Columns: {listing(list(columns))}."
        )
    features = {key: column for key, column in columns.items() if key != label}
    if not features:
        raise DataError(f"{name}: {listing(list(columns))} is the only column; there is nothing to compare.")
    if not len(next(iter(features.values()))):
        raise DataError(f"{name} has no rows.")
    try:
        check_numbers(features, name)
    except DataError as error:
        hint = "" if label is not None else " If it holds labels, name it as the label."
        raise DataError(f"{error}{hint}") from None
    bad = [key for key, column in features.items() if not np.isfinite(column).all()]
    if bad:
        holds = "holds" if len(bad) == 1 else "hold"
        raise DataError(f"{name}: {listing(bad)} {holds} NaN or infinity; remove or repair those examples.")
    return OneSet(name, features, None if label is None else classes(columns[label].astype(np.str_)), notes)


def _of_mapping(given: Mapping[str, Any], name: str) -> OneSet:
    by_name = {str(key).lower(): key for key in given}
    key = next((by_name[each] for each in INPUTS if each in by_name), None)
    if key is None:
        listed = ", ".join(map(str, given)) or "none"
        raise DataError(f"{name}: no array 'x'; call the examples x, and labels, if any, y. Found: {listed}.")
    columns, _ = _named(given[key], name, None)
    one = _of_array(given[key], name, key) if columns is None else _of_columns(columns, name, None, ())
    label = next((by_name[each] for each in LABELS if each in by_name), None)
    return one if label is None else _labelled(one, given[label], label)


def _of_array(given: Any, name: str, key: str) -> OneSet:
    x = as_array(given, f"{name}: {key}")
    if x.dtype.kind not in NUMERIC:
        raise DataError(f"{name}: {key} is {x.dtype}; inputs must be numbers.")
    if not x.size:
        raise DataError(f"{name}: {key} has shape {x.shape}; there are no examples in it.")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).sum())
        raise DataError(f"{name}: {bad} of {len(x)} inputs hold NaN or infinity; remove or repair them.")
    return OneSet(name, x)


def _labelled(one: OneSet, given: Any, key: str) -> OneSet:
    """Return the set with its labels, texts or integers from 0."""
    if given is None:
        return one
    y = as_array(given, f"{one.name}: {key}")
    y = classes(y) if y.dtype.kind == "U" and y.ndim == 1 else arrays.labels(y, one.name, key)
    if len(y) != len(one) or (y.dtype.kind != "U" and y.min() < 0):
        raise DataError(f"{one.name}: {len(one)} examples, {key} {y.shape}; give one class from 0 per example.")
    return replace(one, y=y)
