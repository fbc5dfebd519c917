"""Conversion of several data sets to a common form: columns matched by name, one shape and type; common rows.

Rows are compared in their original types; only then they become the float32 of attacks, after subtracting an offset
from tables if float32 would otherwise make different numbers equal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privbench.data import arrays
from privbench.errors import DataError, did_you_mean
from privbench.external.exactness import alike, exactly, side_by_side
from privbench.external.features import numbers_the_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from privbench.aliases import Array
    from privbench.external.reading import OneSet

TABLE = 2
INDEX = "Unnamed: 0"
"""Name that pandas gives to an index when it reads it from a file."""
SCALED = "pixel for pixel, once scaled to 8 bits"
"""Kind of images with more than 8 bits per channel, and the way of their comparison."""


@dataclass(frozen=True, eq=False)
class Comparable:
    """One of several sets of the same shape and type.

    x: inputs, as in `Examples.x`.
    y: original labels.
    exact: rows (n, width) that are equal only if the original rows are.
    kind: original type or types.
    columns: names or numbers of the columns of a table.
    """

    name: str
    x: Array
    y: Array | None
    exact: Array
    kind: str
    columns: tuple[str, ...]


def together(sets: Sequence[OneSet]) -> tuple[list[Comparable], list[str]]:
    """Return comparable sets, and notes. Raises DataError with the name of the set if they are not comparable."""
    parts, columns, said = _matched(sets)
    kinds = [SCALED if one.is_scaled else _kind(part) for one, part in zip(sets, parts, strict=True)]
    if columns:
        exact = alike(*(side_by_side(part) if isinstance(part, list) else exactly(part) for part in parts))
        xs = _narrowed(exact, columns)
    else:
        pictures = [part for part in parts if isinstance(part, np.ndarray)]
        xs = [arrays.inputs(part, one.name) for one, part in zip(sets, pictures, strict=True)]
        _check_images({one.name: x for one, x in zip(sets, xs, strict=True)})
        exact = alike(*map(exactly, pictures))
    found = zip(sets, xs, exact, kinds, strict=True)
    notes = [note for each in sets for note in each.notes]
    return [Comparable(one.name, x, one.y, rows, kind, columns) for one, x, rows, kind in found], [*notes, *said]


def copies(real: Comparable, synthetic: Comparable, holdout: Comparable) -> tuple[list[str], list[str]]:
    """Return warnings and notes about inputs that occur in two sets, or repeatedly in the synthetic one."""
    warnings, notes = [], []
    overlap = exact(holdout.exact, real.exact)
    if overlap.any():
        warnings.append(
            f"{int(overlap.sum())} of {len(holdout.x)} held-out examples are among the real ones: they are members "
            f"too, and leakage looks smaller. Hold out examples that the generator never saw."
        )
    distinct, given = len(set(_digests(synthetic.exact))), len(synthetic.x)
    if distinct < given:
        repeats = f"the synthetic set holds {distinct} distinct example{'s' * (distinct > 1)} among {given}"
        if distinct <= given // 2:
            warnings.append(f"{repeats}: its generator collapsed, and the results rest on few examples.")
        else:
            notes.append(f"{repeats[0].upper()}{repeats[1:]}.")
    kinds = {each.kind for each in (real, synthetic, holdout)}
    how = "bit for bit" if len(kinds) == 1 else "in every number"
    said = _published(real.exact, synthetic.exact, holdout.exact, SCALED if SCALED in kinds else how)
    narrow = next((kind for kind in ("float16", "float32") if kind in kinds and len(kinds) > 1), None)
    if narrow and not said:
        rows = [each.exact[:, : len(each.columns) or None].astype(narrow) for each in (real, synthetic, holdout)]
        said = _published(rows[0], rows[1], rows[2], f"when all are rounded to {narrow}")
    return warnings, [said, *notes] if said else notes


def exact(x: Array, among: Array) -> Array:
    """Return whether each input is also among the others, bit for bit, (n,) bool."""
    known = set(_digests(among))
    return np.array([digest in known for digest in _digests(x)], dtype=bool)


def _digests(x: Array) -> Iterator[bytes]:
    """Yield a hash of each input, because the inputs of large sets would be a second copy."""
    for row in x:
        plain = row + np.zeros(1, row.dtype) if row.dtype.kind == "f" else row  # -0.0 equals 0.0
        yield hashlib.blake2b(np.ascontiguousarray(plain).data, digest_size=16).digest()


def _published(real: Array, synthetic: Array, holdout: Array, how: str) -> str:
    published, control = exact(real, synthetic), exact(holdout, synthetic)
    if not published.any():
        return ""
    return (
        f"{int(published.sum())} of {len(real)} real examples are published {how}: exact copies, which is leakage "
        f"whatever the results of attacks (of {len(holdout)} held-out examples: {int(control.sum())})."
    )


def _matched(sets: Sequence[OneSet]) -> tuple[list[Array | list[Array]], tuple[str, ...], list[str]]:
    """Return the array of each set, or its columns in the order of the first set; column names, if any; and notes.

    Columns that count the rows of a set are left out of all sets, because they identify rows regardless of what is
    published. Sets without column names are assumed to have them in the same order.
    """
    named = {each.name: each.x for each in sets if isinstance(each.x, dict) and not _is_numbered(each.x)}
    if not named:
        parts = [list(each.x.values()) if isinstance(each.x, dict) else each.x for each in sets]
        _check_widths(sets, parts)
        tables = [part for part in parts if isinstance(part, list) or part.ndim == TABLE]
        return parts, tuple(str(j) for j in range(_width(parts[0]))) if tables else (), []
    first, table = next(iter(named.items()))
    serial = {
        key for each in named.values() for key, column in each.items() if key == INDEX or numbers_the_rows(column)
    }
    order = [column for column in table if column not in serial]
    if not order:
        order, serial = list(table), set()
    for name, other in named.items():
        _check_names(name, other, first, order, serial)
    notes = [f"Column {column!r} counts the rows, and is left out." for column in sorted(serial)]
    if len(named) < len(sets):
        without = " and ".join(each.name for each in sets if each.name not in named)
        notes.append(f"The columns of the {without} examples have no names: they are taken to be in the same order.")
    places = [place for place, column in enumerate(table) if column in order]
    parts = [
        [each.x[column] for column in order] if each.name in named else _at(each, places, len(table)) for each in sets
    ]
    return parts, tuple(order), notes


def _is_numbered(table: Mapping[str, Array]) -> bool:
    """Return whether the names of columns are their numbers, the default of pandas."""
    return list(table) == [str(place) for place in range(len(table))]


def _at(one: OneSet, places: list[int], width: int) -> list[Array]:
    """Return columns of a table without names by position. Raises DataError unless it has `width` columns."""
    columns = list(one.x.values()) if isinstance(one.x, dict) else list(one.x.T) if one.x.ndim == TABLE else []
    if len(columns) != width:
        raise DataError(f"{one.name} has {len(columns)} columns without names, the others have {width}; name them.")
    return [columns[place] for place in places]


def _check_names(name: str, table: Mapping[str, Array], first: str, order: list[str], serial: set[str]) -> None:
    missing = [column for column in order if column not in table]
    more = [column for column in table if column not in order and column not in serial]
    if missing:
        raise DataError(f"{name} has no column {missing[0]!r}, which {first} has.{did_you_mean(missing[0], more)}")
    if more:
        raise DataError(f"{name} has a column {more[0]!r}, which {first} lacks; leave it out, or add it there.")


def _width(part: Array | list[Array]) -> int:
    return len(part) if isinstance(part, list) else int(part.shape[1])


def _check_widths(sets: Sequence[OneSet], parts: Sequence[Array | list[Array]]) -> None:
    """Raise DataError if a set differs in width from the first set, or only one of them is a table."""
    shapes = [(len(part),) if isinstance(part, list) else part.shape[1:] for part in parts]
    for one, shape in zip(sets, shapes, strict=True):
        if shape != shapes[0] and TABLE - 1 in (len(shape), len(shapes[0])):
            raise DataError(f"{one.name} has inputs of shape {shape}, {sets[0].name} of {shapes[0]}; give one shape.")


def _check_images(found: Mapping[str, Array]) -> None:
    """Raise DataError if images differ in shape or type."""
    (first, x), *others = found.items()
    for name, other in others:
        if other.shape[1:] != x.shape[1:]:
            raise DataError(f"{name} has inputs of shape {other.shape[1:]}, {first} of {x.shape[1:]}; give one shape.")
        if other.dtype != x.dtype:
            raise DataError(
                f"{name} is {other.dtype}, {first} is {x.dtype}; save both alike: of images in [0, 1], "
                f"(255 * x).round().astype('uint8')."
            )


def _kind(part: Array | list[Array]) -> str:
    return ", ".join(sorted({str(each.dtype) for each in (part if isinstance(part, list) else [part])}))


def _narrowed(sets: Sequence[Array], columns: Sequence[str]) -> list[Array]:
    """Return tables as float32. Columns that would be rounded too much are shifted first, which preserves distances.

    sets: results of `exactly`.

    Raises DataError with the column if shifting does not help.
    """
    d = len(columns)
    whole = np.concatenate(sets)  # of one type, because of `alike`
    values, rest = whole[:, :d], whole[:, d:]
    with np.errstate(over="ignore"):
        out = values.astype(np.float32)
    for j in np.union1d(arrays.lossy(values), np.flatnonzero(rest.any(axis=0))).astype(int).tolist():
        shifted = values[:, j] - values[0, j]
        if rest.size:
            shifted = shifted + (rest[:, j] - rest[0, j])
        out[:, j] = arrays.narrow(shifted, f"column {columns[j]!r}")
    return np.split(out, np.cumsum([len(each) for each in sets])[:-1])
