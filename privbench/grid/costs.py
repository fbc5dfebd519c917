"""Costs of defenses: seconds per release, and their ratio to undefended training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.records.parts import Cost

if TYPE_CHECKING:
    from privbench.aliases import Array

SPREAD = 2.0
"""Least factor of uncertainty of a ratio of wall-clock times: in five runs on shared machines `relaxloss`, whose steps
cost about as much as those of `ce`, took 0.69 to 1.7 times as long (standard deviation of the logarithm 0.35)."""
TAILS = (0.025, 0.975)


def cost(own: Array, undefended: Array) -> Cost:
    """Return the cost of a release, relative to undefended ones as far as there are any.

    own, undefended: seconds (n,) of releases, with and without the defense
    """
    ratio = compared(own, undefended) if len(undefended) and undefended.all() else (None, None, None)
    relative, low, high = ratio
    return Cost(seconds_per_model=float(np.median(own)), relative_to_ce=relative, relative_low=low, relative_high=high)


def compared(own: Array, undefended: Array) -> tuple[float, float, float]:
    """Return the ratio of the medians of seconds, and its interval.

    The interval covers 95 % of the ratios of one model of each, and at least a factor of `SPREAD` on either side: the
    median of many models does not show how busy the machine is at other times.
    """
    relative = float(np.median(own) / np.median(undefended))
    low, high = np.quantile(np.divide.outer(own, undefended), TAILS)
    return relative, float(min(low, relative / SPREAD)), float(max(high, relative * SPREAD))
