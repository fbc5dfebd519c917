"""Assignment of roles: class-stratified splits and class-balanced subsets, with seeds of the task.

A run's seed never moves an example from one role to another; only the halves of the pool depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench import seeds

if TYPE_CHECKING:
    from privbench.aliases import Array

SEED = 0
TEST = 0.15
TRAINING = {"pool": 0.85, "reference": 0.10, "validation": 0.05}


def cut(y: Array, parts: dict[str, float], purpose: str) -> dict[str, Array]:
    """Split the rows of (n,) labels into named parts of the given fractions, which sum to 1; each part is sorted.

    The sizes are exact, and so is each part's share of each class, to about one example.
    """
    order = stratified(y, purpose)
    ends = np.rint(np.cumsum(list(parts.values())) * len(y)).astype(int)
    return {name: np.sort(rows) for name, rows in zip(parts, np.split(order, ends[:-1]), strict=True)}


def stratified(y: Array, purpose: str) -> Array:
    """Return all rows in a random order in which every section has each class in proportion."""
    place, rank, size = _shuffled(y, purpose)
    return np.lexsort((place, (rank + 0.5) / size))


def balanced(y: Array, count: int, purpose: str) -> Array:
    """Return `count` rows, sorted, equally many of each class; a smaller count's rows are among a larger's."""
    place, rank, _ = _shuffled(y, purpose)
    return np.sort(np.lexsort((place, rank))[:count])


def _shuffled(y: Array, purpose: str) -> tuple[Array, Array, Array]:
    """Return for each row its rank in one random order, its rank within its class there, and its class's size."""
    place = seeds.numpy_generator(SEED, "task", purpose).permutation(len(y))
    _, label, counts = np.unique(y, return_inverse=True, return_counts=True)
    order = np.lexsort((place, label))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(y), dtype=np.int64)
    rank[order] = np.arange(len(y)) - np.repeat(starts, counts)
    return place, rank, counts[label]
