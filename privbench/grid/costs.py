"""Costs of defenses: seconds that releases took to make, and how they compare with undefended training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.records.parts import Cost

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.population.population import Population

SPREAD = 2.0
"""Factor by which a ratio of wall-clock times may be wrong at least: in five runs on shared machines `relaxloss`, whose
steps cost about what those of `ce` cost, took 0.69 to 1.7 times as long (standard deviation of the logarithm 0.35)."""
TAILS = (0.025, 0.975)


def cost(population: Population) -> Cost | None:
    """Return what a release costs; None where none is in the store."""
    own = population.seconds(range(population.models))
    if not len(own):
        return None
    plain = population.undefended.seconds(range(population.models))
    ratio = compared(own, plain) if len(plain) and plain.all() else (None, None, None)
    relative, low, high = ratio
    return Cost(seconds_per_model=float(np.median(own)), relative_to_ce=relative, relative_low=low, relative_high=high)


def compared(own: Array, undefended: Array) -> tuple[float, float, float]:
    """Return the ratio of the medians of seconds, and within what it lies.

    The interval holds 95 % of the ratios of one model of each, and never less than a factor of `SPREAD` either way: a
    median of many says nothing of another moment at which the machine is as busy, or as idle.
    """
    relative = float(np.median(own) / np.median(undefended))
    low, high = np.quantile(np.divide.outer(own, undefended), TAILS)
    return relative, float(min(low, relative / SPREAD)), float(max(high, relative * SPREAD))
