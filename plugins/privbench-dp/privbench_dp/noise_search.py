"""Matched utility: the largest noise that a wanted accuracy leaves room for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from privbench.errors import CellFailed

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST, MOST = 2.0**-6, 2.0**6
"""Between which noise is searched: epsilon from many thousands to hundredths, for any usual number of steps."""


def largest_noise(reached: Callable[[float], float], accuracy: float, tries: int) -> float:
    """Return the largest noise that bisection of its logarithm finds to reach an accuracy.

    reached: noise -> accuracy, which falls as noise rises but for the luck of a training; asked once, with the least
    noise, and then `tries` times. Raises CellFailed where the least noise is too much already.
    """
    low, high = LEAST, MOST
    best = reached(low)
    if best < accuracy:
        raise CellFailed(
            f"dp-sgd: accuracy={accuracy:g} is out of reach: with noise of no more than {low:g}, clipped training "
            f"reaches {best:.3f} on the validation examples; ask for less, or tune lr, epochs and clip."
        )
    for _ in range(tries):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if reached(middle) >= accuracy else (low, middle)
    return low
