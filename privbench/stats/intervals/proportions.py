"""Proportions: rates and accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.stats.intervals.estimates import LEVEL, Estimate, estimate, unavailable

if TYPE_CHECKING:
    from privbench.aliases import Array


def clopper_pearson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a proportion with k hits in n trials (Clopper and Pearson 1934).

    Without trials it is (0, 1). k and n need not be integers: survey statistics uses effective numbers.
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def rate(hits: Array, trials: Array, level: float = LEVEL) -> Estimate:
    """Return sum(hits) / sum(trials) for (examples,) counts, with its interval clustered by example.

    One trial per example: Clopper-Pearson. Otherwise the same with the effective number of trials that the spread
    between examples implies (Korn & Graubard 1998), which also works at 0 and 1, where a Wald interval is a point.
    """
    hits, trials = hits[trials > 0], trials[trials > 0]
    clusters, n = len(trials), int(trials.sum())
    if n == 0:
        return unavailable("no observations")
    value = float(hits.sum() / n)
    effective = float(n)
    if clusters < n and value in (0.0, 1.0):
        effective = float(clusters)
    elif clusters < n and clusters > 1:
        variance = clusters / (clusters - 1) * float(np.square(hits - value * trials).sum()) / n**2
        effective = min(effective, value * (1 - value) / variance) if variance > 0 else effective
    elif clusters < n:
        return estimate(value, 0.0, 1.0, n, "one example only: nothing is known of others")
    return estimate(value, *clopper_pearson(value * effective, effective, level), n)


def accuracy(correct: Array, where: Array | None = None) -> Estimate:
    """Return the share of correct predictions in (models, examples) bool, clustered by example.

    where: of the same shape, the predictions that count; default: all
    """
    counted = np.ones(correct.shape, dtype=bool) if where is None else where
    return rate((correct & counted).sum(axis=0), counted.sum(axis=0))
