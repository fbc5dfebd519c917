"""Reader of .npz files as data sets: detection and checks of their arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.data.archives import archive
from privbench.data.dataset import IMAGE_DIMENSIONS
from privbench.data.source import Part, Source
from privbench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from privbench.aliases import Array

TRAINING = (("x_train", "y_train"), ("X_train", "y_train"), ("train_images", "train_labels"))
TEST = (("x_test", "y_test"), ("X_test", "y_test"), ("test_images", "test_labels"))
WHOLE = (("x", "y"), ("X", "y"), ("data", "labels"), ("images", "labels"))
CHANNELS = (1, 3)
TABLE, GREY = 2, 3
WIDE = 4
"""Least size in bytes of types with numbers that float32 cannot represent."""
ROUNDING, SHARE = 2.0**-24, 1e-3
"""Relative rounding error of float32, and its largest allowed share of a column's range."""


class Raw(NamedTuple):
    """One part of a file, with the names of its arrays."""

    x: Array
    y: Array
    x_key: str
    y_key: str


def read(path: Path) -> Source:
    """Return the checked parts of a .npz file. Raises DataError with the problem and the remedy."""
    name, found = path.stem, raw(path)
    xs = [inputs(part.x, name, part.x_key) for part in found.values()]
    same_kind(xs, name)
    ys = [labels(part.y, name, part.y_key) for part in found.values()]
    parts = [Part(x, y) for x, y in zip(xs, ys, strict=True)]
    return Source(parts[0], parts[1] if len(parts) > 1 else None, _classes(ys[0], name), name)


def raw(path: Path) -> dict[str, Raw]:
    """Return the arrays of "train", and of "test" if present. Raises DataError."""
    name = path.stem
    with archive(path, f"{name}: {path}", "two, with numpy.savez(file, x=inputs, y=labels)") as arrays:
        keys = zip(("train", "test"), _keys(arrays.files, name), strict=False)
        found = {role: Raw(arrays[x], arrays[y], x, y) for role, (x, y) in keys}
    for part in found.values():
        if not part.x.ndim or not part.y.ndim or len(part.x) != len(part.y):
            shapes = f"{part.x_key} has shape {part.x.shape}, but {part.y_key} has shape {part.y.shape}"
            raise DataError(f"{name}: {shapes}; each input needs one label.")
        if not len(part.y):
            raise DataError(f"{name}: {part.x_key} and {part.y_key} are empty; leave out a part that has no examples.")
    return found


def same_kind(parts: list[Array], name: str) -> None:
    """Raise DataError if training and test inputs differ in shape or type."""
    for what, kinds in (("shapes", [x.shape[1:] for x in parts]), ("types", [x.dtype for x in parts])):
        if len(set(kinds)) > 1:
            listing = " and ".join(str(kind) for kind in kinds)
            raise DataError(f"{name}: training and test inputs have different {what}, {listing}; make them the same.")


def inputs(x: Array, name: str, key: str = "x") -> Array:
    """Return inputs as uint8 or float32, images with channels last. Raises DataError for invalid inputs."""
    if x.dtype.kind not in "buif":
        raise DataError(f"{name}: {key} is {x.dtype}; inputs must be numbers.")
    if x.ndim == TABLE:
        return narrow(x, f"{name}: {key}")
    if x.ndim == GREY:
        x = x[..., np.newaxis]
    if x.ndim != IMAGE_DIMENSIONS or x.shape[-1] not in CHANNELS:
        hint = ""
        if x.ndim == IMAGE_DIMENSIONS and x.shape[1] in CHANNELS:
            hint = f" Channels come last: {key}.transpose(0, 2, 3, 1)."
        raise DataError(
            f"{name}: {key} has shape {x.shape}; expected (n, height, width[, 1 or 3]) for images, "
            f"or (n, features).{hint}"
        )
    return _pixels(x, name, key)


def narrow(x: Array, where: str) -> Array:
    """Return a column (n,) or a table (n, features) as float32. Raises DataError if float32 loses the values.

    where: its name in messages

    NaN and infinity pass: Dataset reports them.
    """
    rows = x[:, np.newaxis] if x.ndim == 1 else x
    lost = lossy(rows)
    if len(lost):
        column = rows[:, lost[0]]
        place = f", column {lost[0]}," if x.ndim == TABLE else ""
        raise DataError(
            f"{where}{place} runs from {column.min()} to {column.max()}, numbers that float32 does not hold or tell "
            f"apart; subtract the least one, scale them, or leave the column out."
        )
    return x.astype(np.float32)


def lossy(x: Array) -> Array:
    """Return the columns of (n, features) whose range is hardly larger than float32's rounding, or exceeds float32."""
    if not x.size or x.dtype == np.float32 or x.dtype.itemsize < WIDE:
        return np.empty(0, dtype=np.int64)
    low, high = x.min(axis=0), x.max(axis=0)
    vary, low, high = low != high, low.astype(np.float64), high.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are reported elsewhere
        size = np.maximum(np.abs(low), np.abs(high))
        suspects = np.flatnonzero(vary & np.isfinite(size) & (size * ROUNDING > SHARE * (high - low)))
        rounded = [j for j in suspects.tolist() if not (x[:, j].astype(np.float32).astype(x.dtype) == x[:, j]).all()]
    too_large = np.flatnonzero(np.isfinite(size) & (size > np.finfo(np.float32).max))
    return np.union1d(rounded, too_large).astype(np.int64)


def labels(y: Array, name: str, key: str = "y") -> Array:
    """Return labels as int64, (n,). Raises DataError for non-integers and negative numbers."""
    if y.ndim == TABLE and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{name}: {key} has shape {y.shape}; expected one class number per example, (n,).")
    whole = y.dtype.kind in "ui" or (y.dtype.kind == "f" and bool(np.isfinite(y).all() and (y == np.rint(y)).all()))
    if not whole:
        what = "holds texts" if y.dtype.kind == "U" else f"is {y.dtype}"
        raise DataError(
            f"{name}: {key} {what} and no whole numbers; number the classes 0 to classes - 1, as "
            f"`privbench data import` does."
        )
    return y.astype(np.int64)


def _pixels(x: Array, name: str, key: str) -> Array:
    if x.dtype == np.uint8 or not x.size:
        return x
    low, high = x.min(), x.max()  # NaN if there is any: Dataset reports it
    if x.dtype.kind == "f":
        if low < 0 or high > 1:
            raise DataError(
                f"{name}: float images must lie in [0, 1], but {key} runs from {low:g} to {high:g}; "
                f"scale it, or give uint8 in 0 to 255."
            )
        return x.astype(np.float32)
    if x.dtype.kind == "b" or low < 0 or high > 255:  # noqa: PLR2004 - a byte
        raise DataError(f"{name}: {key} is {x.dtype} from {low} to {high}; images are uint8, or floats in [0, 1].")
    return x.astype(np.uint8)


def _classes(y: Array, name: str) -> int:
    """Return the number of classes. Raises DataError for gaps in their numbers, as caused by a stray label."""
    present = np.unique(y)
    absent = np.setdiff1d(np.arange(len(present)), present)
    if len(present) > 1 and present[0] >= 0 and len(absent):
        raise DataError(
            f"{name}: labels run from {present[0]} to {present[-1]}, but no training example is of class {absent[0]}; "
            f"number the classes 0 to {len(present) - 1}, as `privbench data import` does."
        )
    return max(int(present[-1]) + 1, 2)  # Dataset reports negative labels and a single class


def _keys(found: list[str], name: str) -> list[tuple[str, str]]:
    """Return the names of inputs and labels, of the training part and of the test part if present."""
    for x, y in TRAINING:
        if x in found and y in found:
            return [(x, y), *[pair for pair in TEST if set(pair) <= set(found)][:1]]
    for x, y in WHOLE:
        if x in found and y in found:
            return [(x, y)]
    listing = ", ".join(sorted(found)) or "none"
    raise DataError(f"{name}: expected the arrays x_train, y_train (and x_test, y_test), or x, y; found: {listing}.")
