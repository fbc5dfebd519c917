"""LiRA as its authors' code computes it: tensorflow/privacy, research/mi_lira_2021/plot.py, in formulas of our own.

Differences from `gaussians.py`: the number of scores per example on a side is that of the example with the fewest, the
first in the order of the shadows. Standard deviations divide by n, not by n - 1, and have 1e-30 added; a fixed one is
computed over all queries together, and online it is that of the IN scores for both sides. Offline the density is
two-sided: a score far above those of OUT shadows is as suspicious as one far below. Scores are means over queries.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.builtin.attacks.gaussians import Center


TINY = 1e-30
LOG_NORM = math.log(math.sqrt(2 * math.pi))


def online(target: Array, shadow: Array, member: Array, *, fixed: bool, center: Center) -> Array:
    """Return the mean over queries of log p(target; IN) - log p(target; OUT), (n,).

    target: (n, q)
    shadow: (s, n, q) float64
    member: (s, n) bool, with both kinds of each example
    """
    inside, outside = _first(shadow, member), _first(shadow, ~member)
    sd_in = inside.std() if fixed else inside.std(axis=0)
    sd_out = sd_in if fixed else outside.std(axis=0)
    ratio = _log_density(target, _center(inside, center), sd_in) - _log_density(
        target, _center(outside, center), sd_out
    )
    return np.asarray(ratio.mean(axis=1))


def offline(target: Array, shadow: Array, member: Array, *, fixed: bool, center: Center) -> Array:
    """Return minus the mean over queries of log p(target; OUT), (n,); the shapes are those of `online`."""
    outside = _first(shadow, ~member)
    sd = outside.std() if fixed else outside.std(axis=0)
    return np.asarray(-_log_density(target, _center(outside, center), sd).mean(axis=1))


def _first(shadow: Array, chosen: Array) -> Array:
    """Return the first chosen scores of each example, (m, n, q), m being the smallest number of any example."""
    least = int(chosen.sum(axis=0).min())
    places = np.argsort(~chosen, axis=0, kind="stable")[:least]
    return np.take_along_axis(shadow, places[:, :, None], axis=0)


def _center(scores: Array, center: Center) -> Array:
    return np.asarray(np.median(scores, axis=0) if center == "median" else scores.mean(axis=0))


def _log_density(x: Array, center: Array, sd: Array) -> Array:
    z = (x - center) / (sd + TINY)
    return np.asarray(-(z**2) / 2 - LOG_NORM - np.log(sd + TINY))
