"""Fidelity of generated points: Frechet distance, improved precision and recall; on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.stats.neighbours import DISTANCES, ranked

if TYPE_CHECKING:
    from privbench.aliases import Array

NEIGHBOURS = 3


def frechet_of_moments(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2) for means (d,) and covariances (d, d).

    The squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982), in float64, by eigendecompositions of
    symmetric matrices: `sqrtm` of a product of singular covariances is complex.
    """
    widths, axes = np.linalg.eigh(cov_a)
    root = (axes * np.sqrt(np.maximum(widths, 0))) @ axes.T
    middle = root @ cov_b @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh((middle + middle.T) / 2), 0)).sum()
    return float(np.square(mean_a - mean_b).sum() + max(np.trace(cov_a) + np.trace(cov_b) - 2 * shared, 0.0))


def frechet(a: Array, b: Array) -> float:
    """Return the Frechet distance of Gaussians fitted to points (n, d) and (m, d), two or more each.

    It is biased upwards for small samples, even of the same distribution: compare samples of equal size.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    moments = [(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))) for rows in (a, b)]
    return frechet_of_moments(*moments[0], *moments[1])


def precision_recall(real: Array, generated: Array, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return improved precision and recall (Kynkaanniemi et al. 2019) of generated (m, d) for real points (n, d).

    precision: share of generated points within the distance of some real point to its k-th neighbour among the real;
    recall: the same with the two exchanged. Both sets hold more than k points.
    """
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(points: Array, balls: Array, k: int) -> float:
    center = balls.mean(axis=0)
    points, balls = points - center, balls - center
    radii = np.square(ranked(balls, balls, k, alone=True)[0][:, -1])
    norms, inside = np.square(balls).sum(axis=1), 0
    step = max(1, DISTANCES // len(balls))
    slack = 1e-12 * (norms.max() + np.square(points).sum(axis=1).max())  # so that a point on the edge is in
    for start in range(0, len(points), step):
        rows = points[start : start + step]
        squares = np.square(rows).sum(axis=1)[:, None] + norms - 2 * rows @ balls.T
        inside += int((squares <= radii + slack).any(axis=1).sum())
    return inside / len(points)
