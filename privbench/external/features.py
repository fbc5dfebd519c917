"""Features and classes from the columns of a user's table; doubtful columns are reported, invalid ones refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.data.arrays import narrow
from privbench.errors import BadOption, DataError, did_you_mean
from privbench.external.exactness import side_by_side
from privbench.external.tables import classes, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from privbench.aliases import Array

MOST_VALUES = 10
"""Maximum number of distinct values of fractional labels; more are measurements rather than classes."""
FEW_PER_CLASS, FEW_PER_NUMBER = 10, 50
"""Mean examples per class below which classes are doubtful: of any kind, and of more than 20 numeric classes."""
MANY_NUMBERS = 20
FEWEST = 4
"""Number of rows from which a column that counts the rows is not a coincidence."""
IDENTIFIED = 20
"""Number of rows from which a column of distinct integers looks like an identifier."""
MISSING = {"", "-", "?", "n/a", "na", "nan", "none", "null"}
"""Texts that often represent a missing label."""


class Columns(NamedTuple):
    """Features and labels of a table, with notes and warnings as sentences."""

    x: Array
    """(n, features) float32."""
    y: Array
    """(n,) integers or texts."""
    exact: Array
    """(n, ...) rows that are equal only if all features are, before narrowing."""
    notes: list[str]
    warnings: list[str]


def features_and_classes(path: Path, label: str | None) -> Columns:
    """Read a table with a column of classes. Raises DataError or BadOption with the correction."""
    table = read_table(path, lambda name: name == label)
    names = list(table.columns)
    if label is None:
        raise BadOption(f"Which column holds the classes? Give --label COLUMN. Columns: {listing(names)}.")
    if label not in names:
        raise BadOption(f"{path.name} has no column {label!r}.{did_you_mean(label, names)} Columns: {listing(names)}.")
    features = {name: column for name, column in table.columns.items() if name != label}
    notes, warnings = [f"{path.name}: {note}" for note in table.notes], []
    for name in [name for name, column in features.items() if numbers_the_rows(column)]:
        del features[name]
        notes.append(f"{path.name}: column {name!r} numbers the rows, and is left out.")
    if not features:
        raise DataError(f"{path.name}: {label!r} is the only column; there is nothing to learn from.")
    check_numbers(features, path.name)
    if table.empty:
        have = "has" if len(table.empty) == 1 else "have"
        raise DataError(
            f"{path.name}: {listing(list(table.empty))} {have} empty cells; fill them, or leave those rows out."
        )
    warnings += [
        f"{path.name}: column {name!r} holds a different whole number in each row, as an identifier does; "
        f"leave it out if it is one."
        for name, column in features.items()
        if column.dtype.kind in "iu" and len(column) >= IDENTIFIED and len(np.unique(column)) == len(column)
    ]
    y = classes(table.columns[label])
    warnings += _spellings(y, path.name)
    x = np.stack([narrow(column, f"{path.name}: column {name!r}") for name, column in features.items()], axis=1)
    return Columns(x, y, side_by_side(list(features.values())), notes, warnings)


def doubtful_classes(y: Array, name: str) -> list[str]:
    """Return a warning if (n,) labels do not look like classes. Raises DataError if they are not classes."""
    if y.ndim != 1 or y.dtype.kind not in "buifU" or (y.dtype.kind == "f" and not np.isfinite(y).all()):
        return []  # refused where classes are numbered
    values, counts = np.unique(y, return_counts=True)
    n, distinct = len(y), len(values)
    numbers = _as_numbers(values)
    where = f"{name}: {n} examples have {distinct} different labels"
    if numbers is not None and distinct > MOST_VALUES and (numbers != np.rint(numbers)).any():
        ends = f"{numbers.min():.6g} to {numbers.max():.6g}"
        raise DataError(f"{where}, {ends}: numbers to predict, not classes; bin them into classes.")
    if distinct > max(n / 2, 2):
        raise DataError(f"{where}: most examples have their own label, like an identifier; give a column of classes.")
    many = distinct > MANY_NUMBERS and numbers is not None and n < FEW_PER_NUMBER * distinct
    if n < FEW_PER_CLASS * distinct or many:
        return [f"{where}, {counts.min()} to {counts.max()} examples each; make sure that these are classes."]
    return []


def _as_numbers(values: Array) -> Array | None:
    """Return distinct labels as finite float64 if all of them are numbers; else None."""
    if values.dtype.kind == "b":
        return None
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def numbers_the_rows(column: Array) -> bool:
    """Return whether a column counts the rows, from 0 or from 1."""
    if column.dtype.kind not in "iuf" or column.ndim > 1 or len(column) < FEWEST or column[0] not in (0, 1):
        return False
    return bool((column == np.arange(len(column)) + column[0]).all())


def check_numbers(features: Mapping[str, Array], name: str) -> None:
    """Raise DataError, with the columns and a cell, if some columns hold texts or lists."""
    lists = [column for column, values in features.items() if values.ndim > 1]
    if lists:
        raise DataError(f"{name}: {listing(lists)}: cells hold lists; give each number its own column.")
    words = {column: values for column, values in features.items() if values.dtype.kind not in "biuf"}
    if not words:
        return
    examples = [next((text for text in v.tolist() if not _is_number(text)), v[0]) for v in words.values()]
    holds = "holds" if len(words) == 1 else "hold"
    raise DataError(
        f"{name}: {listing(list(words))} {holds} texts, such as {listing(list(dict.fromkeys(examples)), 3)}; "
        f"repair them, or encode them, for example as one column of 0 and 1 per value."
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text or "0"))
    except ValueError:
        return False


def _spellings(y: Array, name: str) -> list[str]:
    """Return warnings about classes that may be missing labels, or the same class in two spellings."""
    if y.dtype.kind != "U":
        return []
    values, said = np.unique(y).tolist(), []
    absent = [value for value in values if value.strip().lower() in MISSING]
    if absent:
        absentees = f"{listing(absent)} {'counts as a class' if len(absent) == 1 else 'count as classes'}"
        said.append(f"{name}: {absentees}; leave those rows out if their labels are missing.")
    plain: dict[str, list[str]] = {}
    for value in values:
        plain.setdefault(value.strip().casefold(), []).append(value)
    said += [
        f"{name}: {listing(spelt)} are different classes, though they differ only in case or blanks."
        for spelt in plain.values()
        if len(spelt) > 1
    ]
    return said


def listing(names: Sequence[str], most: int = 10) -> str:
    """Return names in quotes for a message, and the number of names left out."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
