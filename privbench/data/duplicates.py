"""Exact duplicates: an example that is also in the other half, or in the test set, is not a clean non-member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from privbench.data.dataset import Dataset

    Array = npt.NDArray[Any]

WORD = 8
EXACT = 2**53
"""Below it float64 holds every integer, and no other integer is rounded to one there."""


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


def duplicates(dataset: Dataset) -> int:
    """Return how many rows have an input that occurs in more than one row, whatever their labels and roles."""
    return int(duplicated(dataset.examples.x).sum())


def duplicated(x: Array) -> Array:
    """Return (n,) bool: whether the input of each row occurs again, bit for bit, in another row.

    Rows are hashed, many at once, and those whose hashes meet are compared in full.
    """
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    if np.issubdtype(rows.dtype, np.floating):
        rows = rows + np.zeros(1, rows.dtype)  # -0.0 equals 0.0
    data = rows.view(np.uint8)
    data = np.pad(data, ((0, 0), (0, -data.shape[1] % WORD)))
    words = data.view(np.uint64)
    weights = seeds.numpy_generator(0, "duplicates").integers(1, 2**63, words.shape[1], dtype=np.uint64) * 2 + 1
    suspects = _meeting(words @ weights)
    again = np.zeros(len(x), dtype=bool)
    if len(suspects):
        _, which, counts = np.unique(rows[suspects], axis=0, return_inverse=True, return_counts=True)
        again[suspects] = counts[which.reshape(-1)] > 1
    return again


def _meeting(hashes: Array) -> Array:
    """Return the rows whose hash occurs more than once."""
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[which] > 1)
