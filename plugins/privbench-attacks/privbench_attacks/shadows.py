"""Common parts of the attacks with shadow models, in addition to `privbench.api`."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def mean_over(values: Array, chosen: Array) -> Array:
    """Return the mean over the chosen shadows, (n,): 0 where none is.

    values: (s, n) float64; chosen: (s, n) bool.
    """
    return np.asarray(np.sum(values, axis=0, where=chosen) / np.maximum(chosen.sum(axis=0), 1))
