"""Nearest neighbours by brute force: a few of each query, exactly, or hundreds of each, to the last bits.

The fast search expands |a - b|^2 = |a|^2 + |b|^2 - 2 ab, which gives two equal rows a distance of 1e-8 or so, and says
nothing of ties. Estimators that divide by a distance, or ask who is nearer, need zeros that are zero and one order:
`nearest` computes every distance anew from differences, `ranked` those that may be zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from privbench.aliases import Array

SPARE = 4
"""Candidates beyond the requested ones, because rounding may change their order; more are fetched if needed."""
BLOCK = 2**21
"""Maximum number of differences in memory, 16 MB of float64; the search itself needs about as much again."""
DISTANCES = 2**19
"""Distances that `ranked` looks at at a time, 4 MB, which stay in a cache."""
NEAR = 1e-10
"""Squared distances below this share of squared norms are computed again from differences, rounding being 1e-16."""


def nearest(queries: Array, points: Array, k: int = 1, *, exclude: Array | None = None) -> tuple[Array, Array]:
    """Return the k nearest points of each query: Euclidean distances (m, k) float64, and indices (m, k) int64.

    queries: (m, d), numbers of any type, compared in float64.
    points: (n, d), likewise.
    k: number of neighbours.
    exclude: (m,) int, index of a point to exclude for each query, such as the query itself.

    Distances increase along a row; of equal ones the lower index comes first. Equal rows have distance 0. The result
    does not depend on the number of threads. Memory beyond inputs and result is a few dozen megabytes for any n. Raises
    ValueError if there are fewer than k points, or if widths differ.
    """
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1]:  # noqa: PLR2004 - rows, columns
        raise ValueError(f"queries {queries.shape} and points {points.shape} must be rows of one width.")
    available = len(points) - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"{k} nearest of {available} points: ask for 1 or more, and no more than there are.")
    from sklearn.neighbors import NearestNeighbors

    kind = np.float32 if queries.dtype == points.dtype == np.float32 else np.float64  # for the search only
    queries, points = np.ascontiguousarray(queries, dtype=kind), np.ascontiguousarray(points, dtype=kind)
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    if not len(queries):
        return distances, indices
    search = NearestNeighbors(algorithm="brute").fit(points)
    slack = _slack(queries, points)
    left, candidates = np.arange(len(queries)), k + (exclude is not None) + SPARE
    while len(left):
        candidates = min(candidates, len(points))
        rows = max(1, BLOCK // (candidates * 2))
        unsure = []
        for start in range(0, len(left), rows):
            part = left[start : start + rows]
            roughly, found = search.kneighbors(queries[part], n_neighbors=candidates)
            without = None if exclude is None else exclude[part]
            distances[part], indices[part] = _measured(queries[part], points, found, k, without)
            # Points that were not fetched are at least this far away, so the answer is final if the k-th is nearer.
            beyond = np.square(roughly[:, -1]) - slack[part]
            unsure.append(part[np.square(distances[part, -1]) >= beyond])
        left = np.concatenate(unsure) if candidates < len(points) else left[:0]
        candidates *= 4
    return distances, indices


def ranked(queries: Array, points: Array, k: int, *, alone: bool = False) -> tuple[Array, Array]:
    """Return the k nearest points of each query: distances (m, k) float64, rising, and indices (m, k) int32.

    As `nearest`, but for hundreds of neighbours ten times as fast: points whose distances differ in the last
    bits alone may change places. alone: queries are the points, and none is its own neighbour.
    """
    center = points.mean(axis=0)
    queries, points = queries - center, points - center
    norms_q, norms_p = np.square(queries).sum(axis=1), np.square(points).sum(axis=1)
    largest = norms_p.max()
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int32)
    step = max(1, DISTANCES // len(points))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        squares = queries[rows] @ (-2 * points.T)
        squares += norms_p
        squares += norms_q[rows, None]
        if alone:
            squares[rows - start, rows] = math.inf
        for row in np.flatnonzero(squares.min(axis=1) < NEAR * (norms_q[rows] + largest)):
            close = np.flatnonzero(squares[row] < NEAR * (norms_q[rows[row]] + largest))
            squares[row, close] = np.square(queries[rows[row]] - points[close]).sum(axis=1)
        nearest_k = squares.argmin(axis=1)[:, None] if k == 1 else np.argpartition(squares, k - 1, axis=1)[:, :k]
        nearest_k.sort(axis=1)  # of equal distances the lower index stays first
        found = np.take_along_axis(squares, nearest_k, axis=1)
        order = np.argsort(found, axis=1, kind="stable")
        distances[rows] = np.sqrt(np.maximum(np.take_along_axis(found, order, axis=1), 0))
        indices[rows] = np.take_along_axis(nearest_k, order, axis=1)
    return distances, indices


def _slack(queries: Array, points: Array) -> Array:
    """Return a bound on the rounding error of the squared distances of the search, (m,)."""
    largest = _norms(points).max()
    terms = queries.shape[1] + 8
    slack: Array = 2 * terms * np.finfo(np.float64).eps * np.square(_norms(queries) + largest)
    return slack


def _norms(rows: Array) -> Array:
    # einsum sums float32 rows in float64 through its buffer, without a copy of the whole array
    norms: Array = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return norms


def _measured(queries: Array, points: Array, found: Array, k: int, exclude: Array | None) -> tuple[Array, Array]:
    """Return the k nearest of the candidates, (m, candidates), by distance, then by index."""
    found = np.sort(found, axis=1)
    squares = np.empty(found.shape)
    width, columns = queries.shape[1], found.shape[1]
    rows = max(1, BLOCK // max(1, width * columns))
    across = max(1, BLOCK // max(1, width))
    for top in range(0, len(queries), rows):
        for side in range(0, columns, across):
            block = slice(top, top + rows), slice(side, side + across)
            difference = points[found[block]].astype(np.float64)
            difference -= queries[block[0], None]
            squares[block] = np.square(difference, out=difference).sum(axis=-1)
    if exclude is not None:
        squares[found == exclude[:, None]] = np.inf
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]  # stable: of equal distances, the lower index stays first
    return np.sqrt(np.take_along_axis(squares, order, axis=1)), np.take_along_axis(found, order, axis=1)
