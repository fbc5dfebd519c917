"""Exact comparison of rows of numbers of any type: canonical rows that are equal only if all numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.external.conversion import EXACT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array


def exactly(x: Array) -> Array:
    """Return rows (n, ...) of numbers of any type as rows (n, width) that are equal only if all numbers are.

    Integers become float64; if that rounds some, their remainders follow in `width` further columns.
    """
    rows = np.ascontiguousarray(x).reshape(len(x), -1) if x.size else np.empty((len(x), int(np.prod(x.shape[1:]))))
    if rows.dtype == np.uint8 or rows.dtype.kind not in "iu":
        return rows.astype(np.float64) if rows.dtype.kind == "b" else rows
    rounded = rows.astype(np.float64)
    large = np.abs(rounded) >= EXACT
    if not large.any():
        return rounded
    rest = np.zeros_like(rounded)
    rest[large] = [whole - int(near) for whole, near in zip(rows[large].tolist(), rounded[large].tolist(), strict=True)]
    return np.concatenate([rounded, rest], axis=1)


def side_by_side(columns: Sequence[Array]) -> Array:
    """Return the result of `exactly` for a table with columns (n,) of different types."""
    parts = [exactly(column[:, np.newaxis]).astype(np.float64) for column in columns]
    both = max(part.shape[1] for part in parts)
    stacked = np.stack([np.pad(part, ((0, 0), (0, both - part.shape[1]))) for part in parts], axis=1)
    return np.concatenate([stacked[..., which] for which in range(both)], axis=1)


def alike(*sets: Array) -> list[Array]:
    """Return results of `exactly` in one type and width, with remainders in all of them or in none."""
    width = max(each.shape[1] for each in sets)
    kind = np.float64 if len({each.dtype for each in sets}) > 1 else sets[0].dtype
    return [np.pad(each, ((0, 0), (0, width - each.shape[1]))).astype(kind, copy=False) for each in sets]
