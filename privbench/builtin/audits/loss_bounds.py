"""Tail bounds on the privacy loss of a record, from a sample of losses.

Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, 2018 (1803.03148), section 4.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from privbench.aliases import Array


def upper_semideviation(losses: Array) -> float:
    """Return sigma_+, the square root of the mean over all (N,) losses of max(L - mean, 0)^2."""
    return float(np.sqrt(np.square(np.maximum(losses - losses.mean(), 0)).mean()))


def bound(losses: Array, gamma: float) -> float:
    """Return mu, which a record's loss exceeds with probability at most gamma: mean + sigma_+ / sqrt(gamma).

    It treats the losses as the whole distribution: Chebyshev's inequality for the upper half (eq. 5 of the paper).
    """
    return float(losses.mean()) + upper_semideviation(losses) / math.sqrt(gamma)


def saw_yang_mo(n: int, k: float) -> float:
    """Return a bound on P(|X - mean| >= k S) for one more draw X, with mean and S (n - 1) of n exchangeable draws.

    Saw, Yang & Mo 1984. It is never below 1 / (n + 1).
    """
    return min(1.0, math.floor((n + 1) * (n * n - 1 + n * k * k) / (n * n * k * k)) / (n + 1))


def sample_bound(losses: Array, gamma: float) -> float:
    """Return a value that the loss of one more record exceeds with probability at most gamma (Saw, Yang & Mo).

    It requires 1 / gamma - 1 losses: with fewer it is infinite.
    """
    n = len(losses)
    allowed = math.floor(gamma * (n + 1) * (1 + 1e-12))  # robust to rounding of gamma * (n + 1)
    if allowed < 1 or n < 2:  # noqa: PLR2004 - a spread takes two
        return math.inf
    k = math.sqrt((n + 1) * (n * n - 1) / (n * n * (allowed + 1 - (n + 1) / n)))
    return float(losses.mean() + k * losses.std(ddof=1))
