"""User labels: classes of examples, and their membership."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.data import arrays
from privbench.errors import DataError
from privbench.external.tables import classes as numbers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array

TABLE = 2
SHOWN = 5
MEMBERS = ("true", "train", "training", "yes", "in", "member", "1")
OTHERS = ("false", "test", "no", "out", "nonmember", "non-member", "non_member", "0")
SAID = {**dict.fromkeys(MEMBERS, 1), **dict.fromkeys(OTHERS, 0)}
"""Texts for members and non-members, in any case."""


def labels(raw: Array, count: int, names: Sequence[str], where: str) -> Array:
    """Return labels as int64, (n,). Raises DataError unless they are class numbers from 0 or names of classes.

    raw: integers, integer-valued floats, booleans for two classes, texts, or one-hot rows (n, count)
    names: names of the classes, in the order of the predictions, if they differ from 0 to count - 1
    """
    if raw.ndim == TABLE and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim == TABLE and raw.shape[1] == count:
        return _from_one_hot(raw, where)
    if raw.ndim != 1:
        raise DataError(f"{where} has shape {raw.shape}; expected one class number per example, (n,).")
    values = _values(raw, count, where)
    if names:
        return _by_name(raw, values, names, where)
    if values.dtype.kind == "U":
        raise DataError(f"{where} holds texts, {_listing(values)}; {_numbered(count)}")
    return _by_number(values, count, where)


def _values(raw: Array, count: int, where: str) -> Array:
    """Return numeric texts as numbers, integer-valued floats as integers, and booleans of two classes as 0 and 1."""
    values = numbers_of(raw) if raw.dtype.kind == "U" else raw
    if values.dtype.kind == "U" and np.isin(values, ("True", "False")).all():
        values = values == "True"
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise DataError(f"{where} has {int(np.isnan(values).sum())} values that are NaN; leave those examples out.")
    is_whole = values.dtype.kind == "f" and bool((values == np.rint(values)).all())
    return values.astype(np.int64) if is_whole or (values.dtype.kind == "b" and count == TABLE) else values


def _by_name(raw: Array, values: Array, names: Sequence[str], where: str) -> Array:
    """Return the position of each label among the names of the columns, or labels that are numbers of columns.

    raw: original labels
    values: those of `raw`
    """
    for texts in (raw.astype(np.str_), values.astype(np.str_)):
        if np.isin(texts, names).all():
            return np.array([list(names).index(text) for text in texts], dtype=np.int64)
    count = len(names)
    if values.dtype.kind == "U":
        raise DataError(
            f"{where} holds texts, {_listing(values)}, which are not the names of the columns, "
            f"{_listing(np.array(names))}; {_numbered(count)}"
        )
    if all(name.isdecimal() for name in names):
        raise DataError(
            f"{where} has the classes {_listing(values)}, but the columns of the predictions are called "
            f"{_listing(np.array(names, dtype=np.int64))}; give both the same numbers, or the columns no names."
        )
    return _by_number(values, count, where)


def _by_number(values: Array, count: int, where: str) -> Array:
    name, _, key = where.rpartition(": ")
    y = arrays.labels(values, name, key)
    if len(y) and (y.min() < 0 or y.max() >= count):
        raise DataError(
            f"{where}: class numbers run from {y.min()} to {y.max()}, but the predictions have {count} columns; "
            f"{_numbered(count)}"
        )
    return y


def membership(raw: Array, where: str) -> Array:
    """Return booleans, zeros and ones, or texts such as train and test, as bool."""
    if raw.dtype.kind == "U":
        said = [SAID.get(text.strip().lower()) for text in raw.ravel().tolist()]
        if None not in said:
            return np.array(said, dtype=bool).reshape(raw.shape)
        raise DataError(f"{where} holds texts, {_listing(raw)}; give 1 for members and 0 for all others.")
    if raw.dtype.kind not in "buif" or not np.isin(raw, (0, 1)).all():
        strange = "" if raw.dtype.kind not in "uif" else f", for example {raw[~np.isin(raw, (0, 1))][0]}"
        raise DataError(f"{where} is {raw.dtype} and holds values other than 0 and 1{strange}; 1 means member.")
    return raw.astype(bool)


def _from_one_hot(raw: Array, where: str) -> Array:
    if raw.dtype.kind not in "buif" or not np.isin(raw, (0, 1)).all() or not (raw.sum(axis=1) == 1).all():
        raise DataError(f"{where} has shape {raw.shape}, but its rows are not one-hot; give (n,) classes.")
    return np.asarray(raw.argmax(axis=1), dtype=np.int64)


def _numbered(count: int) -> str:
    return (
        f"number them 0 to {count - 1} in the order of these columns; where that is sorted, as scikit-learn's classes_ "
        f"are, numpy.unique(labels, return_inverse=True)[1] does."
    )


def _listing(values: Array) -> str:
    """Return the distinct values, or the first and the last of many."""
    distinct = [repr(value) for value in np.unique(values).tolist()]
    if len(distinct) > SHOWN:
        distinct = [*distinct[:2], "...", distinct[-1]]
    return ", ".join(distinct)
