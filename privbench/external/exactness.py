"""Rows of users' numbers, of whatever types, that are equal only where all numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.external.conversion import EXACT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array


def exactly(x: Array) -> Array:
    """Return rows (n, ...) of numbers as rows (n, width) that are equal only where all numbers are, in any type.

    Integers become float64; where it rounds some, the remainders stand in as many columns again, behind the others.
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
    """Return columns (n,) of different types as `exactly` returns a table of them."""
    parts = [exactly(column[:, np.newaxis]).astype(np.float64) for column in columns]
    both = max(part.shape[1] for part in parts)
    stacked = np.stack([np.pad(part, ((0, 0), (0, both - part.shape[1]))) for part in parts], axis=1)
    return np.concatenate([stacked[..., which] for which in range(both)], axis=1)


def alike(*sets: Array) -> list[Array]:
    """Return several sets that `exactly` returned of one width, in one type and with remainders in all or none."""
    width = max(each.shape[1] for each in sets)
    kind = np.float64 if len({each.dtype for each in sets}) > 1 else sets[0].dtype
    return [np.pad(each, ((0, 0), (0, width - each.shape[1]))).astype(kind, copy=False) for each in sets]
