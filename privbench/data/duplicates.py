"""Exact duplicates: an example that is also in the other half, or in the test set, is not a clean non-member."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench import seeds

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.data.dataset import Dataset

WORD = 8


def duplicates(dataset: Dataset) -> int:
    """Return the number of rows whose input occurs in more than one row, regardless of labels and roles."""
    return int(duplicated(dataset.examples.x).sum())


def duplicated(x: Array) -> Array:
    """Return whether the input of each row occurs again, bit for bit, in another row, (n,) bool.

    Rows are hashed, many at once, and rows with equal hashes are compared in full.
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
    """Return the rows whose hash is not unique."""
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[which] > 1)
