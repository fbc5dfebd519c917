"""Distances to the target's decision boundary, found from labels alone, for all examples at once.

The manner is HopSkipJump's (Chen, Jordan, Wainwright, IEEE S&P 2020; arXiv 1904.02144). A point on the boundary is
kept as a unit direction v from the example and a distance r at which the label is another. One round estimates the
boundary's normal g there, from which side of it a small step in each of some directions leads to, and tries the
directions v + a g for several a: at every radius of a bisection the target is asked about all of them, and those that
lead to another label go on. So r never grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench_attacks.label_only.disturbed import IMAGE_DIMENSIONS, as_float, feature_scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]
Changed: TypeAlias = "Callable[[Array], Array]"
"""Points (b, k, d) about b examples -> (b, k) bool, whether the target labels them otherwise."""

STARTS, START_STEPS = 5, 8
AIMS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""How much of the estimated normal is added to the direction, from a correction to a new direction altogether."""
AIM_STEPS = 5
SLACK, FLOOR = 1.5, 0.1
"""A round looks for a radius less by 1.5 times what the round before took off, and by a tenth at least."""
REACH, LONGEST_REACH = 0.0125, 0.5
"""How far probes go, as a share of the radius: per square root of the dimensions, so that what a probe moves along the
normal does not shrink with them; and at most."""
TURNS = 2
CANDIDATES = 2048
"""Candidates with another label among which starting points are looked for."""
BLOCK = 2**22
"""Values of queries that are made at a time: 16 megabytes."""
TINY = 1e-12


def boundary_distances(evidence: Evidence, budget: int) -> Array:
    """Return (n,) float64 L2 distances to another label, found with at most `budget` queries each; 0 where it is wrong.

    Where the target gives no candidate another label there is nowhere to start from: such examples are as far as any
    two inputs of their kind are.
    """
    x = as_float(evidence.x)
    unit = feature_scale(x).ravel()
    points, labels, given = x.reshape(len(x), -1) / unit, evidence.labels, evidence.predictions[:, 0]
    box = (0.0, 1.0) if x.ndim == IMAGE_DIMENSIONS else (-np.inf, np.inf)
    rng = evidence.rng("boundary")
    pool = np.arange(len(x)) if len(x) <= CANDIDATES else np.sort(rng.choice(len(x), CANDIDATES, replace=False))
    plan = rounds(budget, points.shape[1])
    directions = [orthonormal(points.shape[1], count, rng) for count in plan]
    found = np.zeros(len(x))
    right = np.flatnonzero(given == labels)
    width = max([STARTS, len(AIMS), *plan])
    for rows in np.split(right, range(0, len(right), max(1, BLOCK // (width * points.shape[1]))))[1:]:

        def changed(asked: Array, rows: Array = rows) -> Array:
            inputs = (asked * unit).reshape(-1, *x.shape[1:])
            answers = evidence.query(inputs).reshape(asked.shape[:2])
            return np.asarray(answers != labels[rows, None])

        starts = nearest(points[rows], labels[rows], points[pool], given[pool])
        found[rows] = Search(points[rows], changed, box).distances(starts, directions)
    found[~np.isfinite(found)] = np.linalg.norm(np.ptp(points, axis=0))
    return found


def rounds(budget: int, dimensions: int) -> list[int]:
    """Return how many directions are probed in each round, so that all queries together are within the budget."""
    left = budget - STARTS * START_STEPS
    each = min(dimensions, max(16, left // 5))
    moving = len(AIMS) * AIM_STEPS
    count = max(1, left // (each + moving))
    return [min(dimensions, left // count - moving)] * count


def orthonormal(dimensions: int, count: int, rng: np.random.Generator) -> Array:
    """Return (count, dimensions) float32 random directions at right angles; count <= dimensions."""
    basis, _ = np.linalg.qr(rng.standard_normal((dimensions, count)))
    return np.ascontiguousarray(basis.T, dtype=np.float32)


def nearest(points: Array, labels: Array, pool: Array, given: Array) -> Array:
    """Return the nearest points of a pool that the target labels otherwise, (b, STARTS, d); NaN where there are none.

    Where there are fewer, the nearest is repeated. labels: (b,), of points; given: (m,), the target's, of the pool.
    """
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ pool.T + (pool**2).sum(axis=1)
    squares[labels[:, None] == given] = np.inf
    order = np.argsort(squares, axis=1, kind="stable")[:, :STARTS]
    order = np.pad(order, ((0, 0), (0, STARTS - order.shape[1])), mode="edge")
    away = np.isfinite(np.take_along_axis(squares, order, axis=1))
    order = np.where(away, order, order[:, :1])
    return np.where(away[:, :1, None], pool[order], np.nan)


@dataclass(frozen=True, eq=False)
class Search:
    """Examples (b, d) float32, who tells whether points about them have another label, and the box that they are in."""

    points: Array
    changed: Changed
    box: tuple[float, float]

    def distances(self, starts: Array, directions: list[Array]) -> Array:
        """Return (b,) float64: how far each point is from another label; infinity where there is no start.

        starts: (b, k, d) points with other labels, the nearest first; directions: of each round, (m, d) float32.
        """
        nowhere = np.isnan(starts[:, 0, 0])
        starts = np.where(nowhere[:, None, None], self.points[:, None] + 1, starts)
        offset = starts - self.points[:, None]
        radius = np.maximum(np.linalg.norm(offset[:, 0], axis=1), TINY)
        aims = normalised(offset)
        towards, radius = self.shrink(aims, aims[:, 0], radius, np.zeros_like(radius), steps=START_STEPS)
        gain = np.ones_like(radius)
        for basis in directions:
            before, lowest = radius, radius * np.maximum(0, 1 - np.maximum(SLACK * gain, FLOOR))
            aims = self.aims(towards, self.normal(towards, radius, basis), radius)
            towards, radius = self.shrink(aims, towards, radius, lowest, steps=AIM_STEPS)
            gain = 1 - radius / before
        return np.where(nowhere, np.inf, radius).astype(np.float64)

    def shrink(self, aims: Array, towards: Array, radius: Array, lowest: Array, *, steps: int) -> tuple[Array, Array]:
        """Bisect between lowest and radius for the least distance at which any of the aims leads to another label.

        aims: (b, k, d) unit directions; towards: (b, d), the direction that does so at radius. Return both, improved.
        """
        alive, each = np.ones(aims.shape[:2], dtype=bool), np.arange(len(aims))
        for _ in range(steps):
            middle = (lowest + radius) / 2
            asked = np.clip(self.points[:, None] + middle[:, None, None] * aims, *self.box)
            hit = self.changed(asked) & alive
            found = np.asarray(hit.any(axis=1))
            alive = np.where(found[:, None], hit, alive)
            moved = asked[each, hit.argmax(axis=1)] - self.points
            length = np.linalg.norm(moved, axis=1)  # less than the middle where the box cuts the step off
            found &= length > TINY
            radius = np.where(found, length, radius)
            towards = np.where(found[:, None], moved / np.maximum(length, TINY)[:, None], towards)
            lowest = np.where(found, np.minimum(lowest, radius), middle)
        return towards, radius

    def normal(self, towards: Array, radius: Array, basis: Array) -> Array:
        """Return unit normals (b, d) of the boundary at points + radius * towards, on the other label's side.

        The mean of probing directions, each with the sign of the side it leads to, less their mean sign, as a point
        is never on the boundary exactly.
        """
        reach = radius * min(LONGEST_REACH, REACH * math.sqrt(self.points.shape[1]))
        at = (self.points + radius[:, None] * towards)[:, None]
        asked = np.clip(at + reach[:, None, None] * basis, *self.box)
        side = np.where(self.changed(asked), np.float32(1), np.float32(-1))
        mean = side.mean(axis=1, keepdims=True)
        side = np.where(np.abs(mean) < 1, side - mean, side)
        return normalised(np.einsum("bk,bkd->bd", side, asked - at))

    def aims(self, towards: Array, normal: Array, radius: Array) -> Array:
        """Return unit directions (b, k, d) between towards and normal, turned until they end in the box at radius."""
        aims = normalised(towards[:, None] + np.asarray(AIMS, dtype=towards.dtype)[:, None] * normal[:, None])
        for _ in range(TURNS if np.isfinite(self.box[0]) else 0):
            ends = np.clip(self.points[:, None] + radius[:, None, None] * aims, *self.box)
            aims = normalised(ends - self.points[:, None])
        return aims


def normalised(vectors: Array) -> Array:
    """Return vectors of length 1, along the last axis; zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), TINY))
