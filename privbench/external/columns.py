"""Columns of a table as the arrays of an audit of predictions: label, membership, and one column per class.

The name of a column is that of its array, followed by its position on the further axes: probabilities_cat,
shadow_logits_3_cat (shadow model 3), shadow_membership_3.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.data.imported import SUFFIXES
from privbench.errors import DataError
from privbench.external import files
from privbench.external.conversion import as_array, columns_of
from privbench.external.files import ALIASES
from privbench.external.tables import read_table
from privbench.store.reading import home, is_file

if TYPE_CHECKING:
    from privbench.aliases import Array

PREFIXES = {
    **ALIASES,
    "logits": ("logit", *ALIASES["logits"]),
    "probabilities": ("probability", "prob", "p", *ALIASES["probabilities"]),
    "shadow_logits": ("shadow_logit",),
    "shadow_probabilities": ("shadow_probability", "shadow_prob", "shadow_p", *ALIASES["shadow_probabilities"]),
}
"""Permitted names of columns, without their class or shadow."""
PATTERN = re.compile(
    "({})(?:[ _.:-]+(.+)|([0-9]+))?".format(
        "|".join(sorted({n for name, aliases in PREFIXES.items() for n in (name, *aliases)}, key=len, reverse=True))
    ),
    re.IGNORECASE,
)
NUMPY = (".npz", ".npy")
PER_CLASS = ("logits", "probabilities")


def arrays_of(source: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the arrays of a file, a data frame or a mapping by name, and notes. Raises DataError."""
    if isinstance(source, (str, Path)):
        path = home(Path(source))
        if path.suffix.lower() in SUFFIXES:
            return read(path)
        if is_file(path) and not (path.suffix.lower() in NUMPY or zipfile.is_zipfile(path)):
            raise DataError(f"{path} is not a file of arrays or columns; give a .npz, .csv, .tsv or .parquet file.")
        return files.read(path), ()
    if isinstance(source, Mapping):
        return source, ()
    by_name = {str(key): source[key] for key in columns_of(source)}
    if not by_name:
        raise DataError(
            f"predictions: a {type(source).__name__} is not a file, data frame or mapping of arrays; give logits=..., "
            f"labels=... and membership=... as keywords."
        )
    arrays, notes = of(by_name, "predictions")
    return arrays, tuple(notes)


def read(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arrays of a .csv, .tsv or .parquet file by name, and notes on the file. Raises DataError."""
    table = read_table(path, lambda name: _parsed(name)[0] == "labels")
    for name, count in table.empty.items():
        if _parsed(name)[0] or name.isdecimal():
            raise DataError(f"{path.name}: column {name!r} has {count} empty cells; leave those rows out.")
    arrays, notes = of(table.columns, path.name)
    return arrays, tuple(note[0].upper() + note[1:] for note in (*table.notes, *notes))


def of(columns: Mapping[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the arrays assembled from columns, with predictions as data frames with class names, and notes.

    Raises DataError with the fault and its correction.
    """
    import pandas as pd

    arrays: dict[str, Any] = {}
    parts: dict[str, dict[tuple[str, ...], Any]] = {}
    numbered, notes = _numbered(columns)
    for key, column in columns.items():
        wanted, where = (numbered, (key,)) if numbered and key.isdecimal() else _parsed(key)
        if not where:
            arrays[key] = column  # a complete array, or an unknown name
        elif where in parts.setdefault(wanted, {}):
            raise DataError(f"{name}: column {key!r} occurs twice, under two names; remove one.")
        else:
            parts[wanted][where] = column
    if not any(each in PER_CLASS for each in (*parts, *(_parsed(key)[0] for key in arrays))):
        raise DataError(
            f"{name}: no columns of predictions; name them logits_0, logits_1, ... or probabilities_0, ..., one per "
            f"class, beside label and membership. Found: {', '.join(columns)}."
        )
    for wanted, some in parts.items():
        if wanted in PER_CLASS:
            arrays[wanted] = pd.DataFrame({where[0]: some[where] for where in _in_order(some)})
        else:
            arrays[wanted] = _stacked(some, wanted, name)
    return arrays, notes


def _numbered(columns: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the array of columns named 0, 1, ..., as pandas names them, with a note; "" without such columns."""
    names = [key for key in columns if key.isdecimal()]
    if len(names) < 2 or names != [str(i) for i in range(len(names))]:  # noqa: PLR2004 - two classes
        return "", []
    answers = np.stack([as_array(columns[each], each) for each in names], axis=1)
    if answers.dtype.kind not in "uif":
        return "", []
    sums = answers.sum(axis=1)
    whole = answers.min() >= 0 and any(np.isclose(sums, total, rtol=0.1).all() for total in (1, 100))
    wanted = "probabilities" if whole else "logits"
    return wanted, [f"columns 0 to {names[-1]} are taken for {wanted}."]


def _parsed(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the canonical name of a column's array, and its position in the array; empty for other columns."""
    match = PATTERN.fullmatch(name.strip())
    if match is None:
        return "", ()
    prefix = match[1].lower()
    wanted = next(each for each, aliases in PREFIXES.items() if prefix in (each, *aliases))
    rest = match[2] or match[3] or ""
    if wanted in ("labels", "membership"):
        return ("", ()) if rest else (wanted, ())
    if wanted == "shadow_membership" or wanted in PER_CLASS:
        return wanted, (rest,) if rest else ()
    shadow, _, of = rest.partition("_")
    return (wanted, (shadow, of)) if shadow and of else ("", ())


def _in_order(columns: Mapping[tuple[str, ...], Any]) -> list[tuple[str, ...]]:
    """Return positions in the order of their numbers or, for names, in the order of the file."""
    if all(part.isdecimal() for where in columns for part in where):
        return sorted(columns, key=lambda where: tuple(map(int, where)))
    return list(columns)


def _stacked(columns: Mapping[tuple[str, ...], Any], wanted: str, name: str) -> Array:
    """Return the columns of the shadows as (s, n) or (s, n, c)."""
    order = _in_order(columns)
    axes = [list(dict.fromkeys(where[axis] for where in order)) for axis in range(len(order[0]))]
    shape = tuple(map(len, axes))
    if len(order) != np.prod(shape):
        raise DataError(
            f"{name}: {len(order)} columns of {wanted} for {shape[0]} shadows of {shape[-1]} classes; give one each."
        )
    stacked = np.stack([as_array(columns[where], f"{name}: {wanted}") for where in order])
    return np.moveaxis(stacked.reshape(*shape, -1), -1, 1)
