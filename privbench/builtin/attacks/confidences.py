"""Log-confidences for RMIA: of the softmax, or of the Taylor softmax with a soft margin that its authors use."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from privbench.stats import signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array


@functools.cache
def log_confidence(
    kind: Literal["softmax", "taylor"], temperature: float, order: int, margin: float
) -> Callable[[Array, Array], Array]:
    """Return the signal log p_y of logits over a temperature: logits (n, q, c), labels (n,) -> (n, q) float64.

    The same options give the same function object, so that the evidence can cache its results.
    """
    if kind == "taylor":
        return functools.partial(_taylor, temperature=temperature, order=order, margin=margin)
    if temperature == 1:
        return signals.log_confidence
    return lambda logits, labels: signals.log_confidence(logits / temperature, labels)


def _taylor(logits: Array, labels: Array, *, temperature: float, order: int, margin: float) -> Array:
    """Return log of T(z_y - margin) / (T(z_y - margin) + sum_{j != y} T(z_j)), z = logits / temperature, (n, q)."""
    z = logits / np.float64(temperature)
    index = np.broadcast_to(labels[:, None, None], (*z.shape[:2], 1))
    own = taylor(np.take_along_axis(z, index, axis=-1) - margin, order)[..., 0]
    others = taylor(z, order)
    np.put_along_axis(others, index, 0.0, axis=-1)
    return np.asarray(-np.log1p(others.sum(axis=-1) / own))


def taylor(x: Array, order: int) -> Array:
    """Return sum_{i <= order} x^i / i!, which is positive everywhere if and only if the order is even."""
    total = np.full_like(x, 1 / math.factorial(order))
    for power in range(order - 1, -1, -1):
        total *= x
        total += 1 / math.factorial(power)
    return total
