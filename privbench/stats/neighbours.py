"""Exact nearest neighbours by brute force: scikit-learn's search, and every distance recomputed from differences.

The fast search expands |a - b|^2 = |a|^2 + |b|^2 - 2 ab, which gives two equal rows a distance of 1e-8 or so, and says
nothing of ties. Estimators that divide by a distance, or ask who is nearer, need zeros that are zero and one order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import TypeAlias

    Array: TypeAlias = npt.NDArray[Any]

SPARE = 4
"""Candidates beyond those asked for, as rounding may have mixed up their order; more are fetched where needed."""
BLOCK = 2**21
"""Differences held at a time, 16 MB of float64, beside what the search itself holds (about as much)."""


def nearest(queries: Array, points: Array, k: int = 1, *, exclude: Array | None = None) -> tuple[Array, Array]:
    """Return the k nearest points of each query: Euclidean distances (m, k) float64, and indices (m, k) int64.

    queries: (m, d); points: (n, d); numbers of any type, compared in float64. exclude: (m,) int, for each query the
    index of one point that must not count, such as itself. Distances rise along a row; of equal ones the lower index
    comes first. Equal rows have distance 0. The result does not depend on the number of threads. Memory beyond inputs
    and result is a few dozen megabytes, whatever n is. Raises ValueError where there are fewer than k points, or where
    widths differ.
    """
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1]:  # noqa: PLR2004 - rows, columns
        raise ValueError(f"queries {queries.shape} and points {points.shape} must be rows of one width.")
    available = len(points) - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"{k} nearest of {available} points: ask for 1 or more, and no more than there are.")
    from sklearn.neighbors import NearestNeighbors

    kind = np.float32 if queries.dtype == points.dtype == np.float32 else np.float64  # searched; measured in float64
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
            # Whatever was not fetched is at least this far, so that where the k-th is nearer the answer is final.
            beyond = np.square(roughly[:, -1]) - slack[part]
            unsure.append(part[np.square(distances[part, -1]) >= beyond])
        left = np.concatenate(unsure) if candidates < len(points) else left[:0]
        candidates *= 4
    return distances, indices


def _slack(queries: Array, points: Array) -> Array:
    """Return (m,) a bound on the rounding error of the search's squared distances."""
    largest = _norms(points).max()
    terms = queries.shape[1] + 8
    slack: Array = 2 * terms * np.finfo(np.float64).eps * np.square(_norms(queries) + largest)
    return slack


def _norms(rows: Array) -> Array:
    # einsum sums float32 rows in float64 by its buffer, without a copy of them all
    norms: Array = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return norms


def _measured(queries: Array, points: Array, found: Array, k: int, exclude: Array | None) -> tuple[Array, Array]:
    """Return the k nearest of the candidates found (m, candidates), by distance, then by index."""
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
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]  # stable: of equal ones the lower index stays first
    return np.sqrt(np.take_along_axis(squares, order, axis=1)), np.take_along_axis(found, order, axis=1)
