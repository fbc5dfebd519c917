"""Leave-out divergence: the effect of removing points from a set on its estimated density (Perez-Cruz 2008)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from privbench.errors import DataError
from privbench.stats.neighbours import ranked

if TYPE_CHECKING:
    from privbench.aliases import Array

SAME = 1e-9
"""Points closer than this share of their spread are the same: features of equal images differ by rounding."""
DEPTH = 64
"""Neighbours of each point that are listed at first; four times as many whenever a point has lost all of them."""
REMOVALS = 2**22
"""Cells (removal, point) per block: some tens of megabytes."""


def tolerance(points: Array) -> float:
    """Return the distance up to which two of the points (n, d) count as the same."""
    return SAME * math.sqrt(float(points.var(axis=0).sum()))


def distinct(points: Array, same: float = 0.0) -> tuple[Array, Array]:
    """Return the rows (kept,) that remain if one of the points within the distance `same` of each other is kept.

    Also return the distance (kept,) of each to the nearest other one. Density estimators cannot handle two points in
    one place: log 0.
    """
    kept = np.arange(len(points))
    while len(kept) > 1:
        places = np.arange(len(kept))
        distances, indices = ranked(points[kept], points[kept], 1, alone=True)
        repeated = (distances[:, 0] <= same) & (indices[:, 0] < places)
        if not repeated.any():
            return kept, distances[:, 0]
        kept = kept[~repeated]
    return kept, np.full(len(kept), math.inf)


class LeaveOut:
    """Estimates of KL(D~ || D^-), where D^- is D~ without K of its points, for many choices of the K points at once.

    The mean over all x of D~ of d log(nu / rho) + log(m_x / (n - 1)): rho is the distance to the nearest other point of
    D~, nu to the nearest other remaining point, m_x = n - K - [x remains]. D^- is a part of D~, so that the textbook
    estimator would find x itself, at distance 0. A removal changes nu only for points whose nearest neighbour is
    removed; these walk down a list of neighbours that is computed once.
    """

    def __init__(self, points: Array, dimension: int | None = None) -> None:
        """Take the points and prepare their lists of neighbours.

        points: (n, d)
        dimension: of their density, default d

        Raises DataError if two points are equal, or if there are fewer than three.
        """
        if len(points) < 3:  # noqa: PLR2004 - one goes, and another needs a neighbour
            raise DataError(f"{len(points)} distinct synthetic points: the estimator takes 3 or more.")
        self.points, self.dimension = points, dimension or points.shape[1]
        self._list(min(DEPTH, len(points) - 1))
        equal = int((self._logs[:, 0] == -math.inf).sum())
        if equal:
            raise DataError(f"{equal} of {len(points)} points equal another, and log 0 is no number; drop duplicates.")
        # The points whose nearest neighbour is y are _followers[_starts[y] : _starts[y] + _counts[y]].
        self._followers = np.argsort(self._neighbours[:, 0], kind="stable").astype(np.int32)
        self._counts = np.bincount(self._neighbours[:, 0], minlength=len(points))
        self._starts = np.cumsum(self._counts) - self._counts

    def _list(self, depth: int) -> None:
        distances, self._neighbours = ranked(self.points, self.points, depth, alone=True)
        with np.errstate(divide="ignore"):
            self._logs = np.log(distances)

    def losses(self, removed: Array) -> Array:
        """Return (N,) estimates in nats, one for each row of removed (N, K): distinct indices of points, K <= n - 2.

        They can be negative, and are not clipped.
        """
        (total, k), n = removed.shape, len(self.points)
        if not 1 <= k <= n - 2:
            raise ValueError(f"{k} of {n} points cannot be left out: from 1 to {n - 2} can.")
        step = max(1, REMOVALS // n)
        gains = [self._gains(removed[start : start + step]) for start in range(0, total, step)]
        counts = (n - k) * math.log((n - k - 1) / (n - 1)) + k * math.log((n - k) / (n - 1))
        losses: Array = (self.dimension * np.concatenate(gains) + counts) / n
        return losses

    def _gains(self, removed: Array) -> Array:
        """Return the sum of log(nu / rho) over all points, for each removal."""
        count, n = len(removed), len(self.points)
        gone = np.zeros((count, n), dtype=bool)
        gone[np.arange(count)[:, None], removed] = True
        gains = np.zeros(count)
        row, point = self._orphans(removed)
        rank = 1
        while len(row):
            if rank == self._neighbours.shape[1]:
                self._list(min(4 * rank, n - 1))
            lost = gone[row, self._neighbours[point, rank]]
            found, x = row[~lost], point[~lost]
            gains += np.bincount(found, self._logs[x, rank] - self._logs[x, 0], count)
            row, point, rank = row[lost], point[lost], rank + 1
        return gains

    def _orphans(self, removed: Array) -> tuple[Array, Array]:
        """Return (removal, point) for each point whose nearest neighbour is removed."""
        count, k = removed.shape
        going = removed.ravel()
        many = self._counts[going]
        row = np.repeat(np.repeat(np.arange(count, dtype=np.int32), k), many)
        first = np.cumsum(many) - many
        place = np.arange(len(row)) - np.repeat(first - self._starts[going], many)
        return row, self._followers[place]
