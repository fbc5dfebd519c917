"""Membership and shadow order: the members of each model, and the order of an attack's shadows, from seed and salt.

An attack that can recompute them knows the memberships without any model. With the public salt it can: it sees which
halves are present, and so which is missing. A random salt cannot be guessed (`privbench.seeds`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench import seeds

if TYPE_CHECKING:
    from privbench.aliases import Array


def members(seed: int, index: int, n: int, salt: str = "") -> Array:
    """Return (n,) bool: the random half of the pool on which model `index` is trained.

    Models 2k and 2k + 1 get a half and its complement, from (seed, salt, k) alone, so that a larger population contains
    the smaller one. For an odd pool the second gets one more.
    """
    order = seeds.numpy_generator(seed, "pair", *seeds.salted(salt), index // 2).permutation(n)
    first = np.zeros(n, dtype=bool)
    first[order[: n // 2]] = True
    return first if index % 2 == 0 else ~first


def fixed_members(seed: int, labels: Array, share: float, salt: str = "") -> Array:
    """Return (n,) bool: the first model's half, or a share of each class of it, for populations of one training set.

    labels: (n,) of the pool
    """
    half = members(seed, 0, len(labels), salt)
    rows = seeds.numpy_generator(seed, "fixed", *seeds.salted(salt)).permutation(len(labels))
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels[half]):
        inside = rows[half[rows] & (labels[rows] == label)]
        chosen[inside[: round(share * len(inside))]] = True
    return chosen


def partner(index: int) -> int:
    """Return the model trained on the complement."""
    return index ^ 1


def shadow_order(seed: int, target: int, models: int, salt: str = "") -> list[int]:
    """Return all models in the order in which an attack on one target sees its shadows.

    In numerical order, the gap of two missing models would reveal the target.
    """
    order = seeds.numpy_generator(seed, "shadows", *seeds.salted(salt), target).permutation(models)
    return [int(index) for index in order]
