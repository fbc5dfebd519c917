"""LiRA compares the target's confidence on an example with that of models trained with it and without it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench import signals
from privbench.api import Needs, component, option
from privbench.attacks.shadows import ShadowOptions, shadow_signals
from privbench.errors import CellFailed

if TYPE_CHECKING:
    from privbench.evidence import Evidence

Array: TypeAlias = npt.NDArray[Any]
Variance: TypeAlias = Literal["example", "global", "pooled"]
Center: TypeAlias = Literal["mean", "median"]

SD_FLOOR = 1e-6
BLOCK = 2**17
"""Shadow scores worked on at a time: a megabyte stays in the cache and bounds memory."""
ENOUGH_FOR_EXAMPLE = 60
"""Shadows from which `auto` trusts an example's own variance: 64 models, less the target's pair and the pair on which
a threshold may be calibrated, so that both kinds of scores are made alike. Online, on MLPs for digits, Location-30 and
CIFAR-10, one variance for all gave 1.1 to 19 times the TPR at 1 % FPR of each example's own with 6 to 16 models, and
0.91 to 0.99 times with 66; the two crossed between 16 and 48. `global`, the paper's, and `pooled` came out alike
there, so `auto` takes the paper's."""


@component
class LiRA(ShadowOptions):
    """Likelihood ratio of the logit-scaled confidence phi under Gaussians fitted to the shadows of each example.

    online (Algorithm 1):   sum_a log N(phi_a; mu_in,a, v_in,a) - log N(phi_a; mu_out,a, v_out,a)
    offline (eq. 4):        mean_a (phi_a - mu_out,a) / sd_out,a

    over aligned queries a, each with its own mean and variance. Offline the paper's Phi of the z-score is left out:
    it has the same ranking, but saturates at 8 sd and makes ties. The authors' code differs where we think it
    errs: with a fixed variance it takes sd_out from the IN scores, and offline it is two-sided. An example that no
    shadow was trained on, or every one, scores 0.
    """

    name: ClassVar[str] = "lira"
    paper: ClassVar[str] = (
        "Carlini, Chien, Nasr, Song, Terzis, Tramer: Membership Inference Attacks From First Principles, "
        "IEEE S&P 2022 (2112.03570)"
    )

    mode: Literal["online", "offline"] = option("online", "compare IN with OUT shadows, or use OUT shadows only")
    variance: Literal["auto", "example", "global", "pooled"] = option(
        "auto",
        "of each example's scores; of all raw scores (the authors' fixed variance); within examples, averaged over all",
    )
    queries: Literal["task", 1, 2, 18, 162] = option("task", "aligned queries per example; task: as it augments")
    center: Literal["mean", "median"] = option("mean", "centre of the Gaussians (the authors' code: median)")

    @property
    def needs(self) -> Needs:
        """Logits for aligned queries, of the target and of shadow models."""
        return Needs(queries=self.queries, shadows=self.shadows, inputs=self.inputs)

    @property
    def threshold(self) -> float | None:
        """A log-likelihood ratio of 0 online; offline there is no natural point."""
        return 0.0 if self.mode == "online" else None

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed without shadows, or with shadows of one kind only."""
        target = evidence.signals(signals.phi)
        shadow, member = shadow_signals(evidence, signals.phi)
        variance = self.variance
        if variance == "auto":
            variance = "example" if len(shadow) >= ENOUGH_FOR_EXAMPLE else "global"
        outside = fit(shadow, ~member, self.center)
        if self.mode == "offline":
            known = outside.count > 0
            scores = (target - outside.center) / np.sqrt(outside.variance(variance))
        else:
            inside = fit(shadow, member, self.center)
            known = (inside.count > 0) & (outside.count > 0)
            scores = inside.log_density(target, variance) - outside.log_density(target, variance)
        if not known.any():
            kind = "without" if self.mode == "offline" else "both with and without"
            raise CellFailed(f"lira ({self.mode}) needs shadows trained {kind} an example; here no example has them.")
        total = np.where(known, scores, 0.0).sum(axis=1)
        return np.asarray(total / target.shape[1] if self.mode == "offline" else total)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """One Gaussian per example and query, as far as the shadows on one side (IN or OUT) tell.

    count: (n, 1) shadows on this side; mean, center, squares: (n, q), squares being summed about the mean.
    """

    count: Array
    mean: Array
    center: Array
    squares: Array

    def variance(self, kind: Variance) -> Array:
        """Return unbiased variances, (n, q) or (1, q), at least SD_FLOOR squared.

        An example with fewer than two shadows takes the pooled one; where every example is so, the global one.
        """
        freedom = np.maximum(self.count - 1, 0)
        # Sums over examples are exact (fsum): the order of the examples must not change a single bit of a score.
        if kind == "global" or not freedom.any():
            counted = max(1, int(self.count.sum()))
            grand = _sum(self.count * self.mean) / counted
            between = _sum(self.count * (self.mean - grand) ** 2)
            found = (_sum(self.squares) + between) / max(1, counted - 1)
        else:
            found = _sum(self.squares) / int(freedom.sum())
            if kind == "example":
                found = np.where(freedom > 0, self.squares / np.maximum(freedom, 1), found)
        return np.maximum(found, SD_FLOOR**2)

    def log_density(self, x: Array, kind: Variance) -> Array:
        """Return log N(x; center, variance) + log(2 pi) / 2, (n, q); the constant cancels in a ratio."""
        variance = self.variance(kind)
        return np.asarray(-0.5 * ((x - self.center) ** 2 / variance + np.log(variance)))


def fit(shadow: Array, chosen: Array, center: Center = "mean") -> Gaussians:
    """Fit Gaussians to the chosen shadows of each example.

    shadow: (s, n, q) float64 scores; chosen: (s, n) bool. Memory beyond the results is one block's.
    """
    s, n, q = shadow.shape
    count = chosen.sum(axis=0)[:, None]
    mean, middle, squares = np.empty((n, q)), np.empty((n, q)), np.empty((n, q))
    blocks = -(-s * n * q // BLOCK)
    edges = np.linspace(0, n, max(1, min(n, blocks)) + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        x, weight = shadow[:, start:stop], chosen[:, start:stop, None].astype(np.float64)
        rows = slice(start, stop)
        mean[rows] = (x * weight).sum(axis=0) / np.maximum(count[rows], 1)
        deviation = x - mean[rows]
        deviation *= deviation
        deviation *= weight
        squares[rows] = deviation.sum(axis=0)
        middle[rows] = mean[rows] if center == "mean" else _median(x, weight > 0, count[rows])
    return Gaussians(count, mean, middle, squares)


def _median(x: Array, chosen: Array, count: Array) -> Array:
    """Return the median over the chosen shadows, (m, q); 0 where none is."""
    order = np.sort(np.where(chosen, x, np.inf), axis=0)
    halves = [np.maximum(at, 0)[None] for at in ((count - 1) // 2, count // 2)]
    low, high = (np.take_along_axis(order, np.broadcast_to(at, (1, *x.shape[1:])), axis=0)[0] for at in halves)
    return np.where(count > 0, (low + high) / 2, 0.0)


def _sum(values: Array) -> Array:
    """Return (1, q) exact sums over examples."""
    return np.array([[math.fsum(column) for column in values.T]])
