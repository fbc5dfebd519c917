"""Signals: per-example statistics of a model's logits, the basis of the attacks.

Every function takes logits (n, q, c) float32, finite, with c >= 2, and true labels (n,) int; it returns (n, q) float64,
higher for likelier members, independently for each example. `Evidence.signals` and `Evidence.shadow_signals` call them
and cache the results.

All of them use logits and never probabilities: a member often has 1 - p_y < 1e-8, so that `log(softmax(z))` or
`log(1 - p)` would make ties of the very examples that matter. The sum used instead is

    log(1 - p_i) = LSE_{j != i}(z_j) - LSE(z)       with LSE the log-sum-exp.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array


BLOCK = 2**16
"""Logits per block: half a megabyte in float64 stays in the cache and keeps temporaries small."""


def _in_blocks(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Apply a function of float64 blocks (m, q, c), which it may overwrite, and labels (m, 1, 1) to whole arrays."""

    @functools.wraps(function)
    def whole(logits: Array, labels: Array) -> Array:
        n, queries, classes = logits.shape
        rows = max(1, BLOCK // (queries * classes))
        index = np.asarray(labels).reshape(n, 1, 1)
        out = np.empty((n, queries))
        for at in range(0, n, rows):
            block = np.array(logits[at : at + rows], dtype=np.float64, order="C")
            out[at : at + rows] = function(block, np.broadcast_to(index[at : at + rows], (*block.shape[:2], 1)))
        return out

    return whole


@_in_blocks
def correct(z: Array, y: Array) -> Array:
    """1 if the predicted class is the label, else 0 (Yeom et al. 2018, arXiv 1709.01604)."""
    return np.asarray(z.argmax(axis=-1) == y[..., 0])


@_in_blocks
def phi(z: Array, y: Array) -> Array:
    """Logit of the confidence, log(p_y / (1 - p_y)) = z_y - LSE_{j != y}(z_j) (LiRA, arXiv 2112.03570)."""
    return -_log_odds_against(z, y)


@_in_blocks
def log_confidence(z: Array, y: Array) -> Array:
    """Log of p_y, the negative cross-entropy loss (Yeom et al. 2018, arXiv 1709.01604)."""
    return np.asarray(-np.logaddexp(0.0, _log_odds_against(z, y)))


@_in_blocks
def neg_entropy(z: Array, y: Array) -> Array:  # noqa: ARG001 - all signals are called alike; this one is label-free
    """sum_i p_i log p_i; high for a confidently wrong prediction, too (Salem et al. 2019, arXiv 1806.01246)."""
    top = z.argmax(axis=-1, keepdims=True)
    z -= np.take_along_axis(z, top, axis=-1)
    weights = np.exp(z)
    z *= weights
    np.put_along_axis(weights, top, 0.0, axis=-1)
    others = weights.sum(axis=-1)
    return np.asarray(z.sum(axis=-1) / (1.0 + others) - np.log1p(others))


@_in_blocks
def neg_modified_entropy(z: Array, y: Array) -> Array:
    """(1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i) (Song and Mittal 2021, arXiv 2003.10595)."""
    top = z.argmax(axis=-1, keepdims=True)
    hit = (top == y)[..., 0]
    z_y = np.take_along_axis(z, y, axis=-1)[..., 0]
    z_top = np.take_along_axis(z, top, axis=-1)[..., 0]
    against = _log_odds_against(z, top)  # overwrites z with exp(z - max of the others), and 0 at the top
    log_top, log_not_top = -np.logaddexp(0.0, against), -np.logaddexp(0.0, -against)
    # Only the top class can have p > 1/2; for the others log1p(-p) loses nothing.
    z *= (np.exp(log_not_top) / z.sum(axis=-1))[..., None]
    p_y = np.take_along_axis(z, y, axis=-1)[..., 0]
    np.put_along_axis(z, y, 0.0, axis=-1)
    others = (z * np.log1p(-z)).sum(axis=-1)
    at_label = np.where(hit, np.exp(log_not_top) * log_top, (1.0 - p_y) * (z_y - z_top + log_top))
    return np.asarray(at_label + others + np.where(hit, 0.0, np.exp(log_top) * log_not_top))


def _log_odds_against(z: Array, index: Array) -> Array:
    """Return LSE_{j != i}(z_j) - z_i for one class i per prediction; z becomes exp(z - max of the others), 0 at i.

    z: (m, q, c) float64
    index: (m, q, 1) int

    Finite for all finite z.
    """
    chosen = np.take_along_axis(z, index, axis=-1)[..., 0]
    np.put_along_axis(z, index, -np.inf, axis=-1)
    largest = z.max(axis=-1, keepdims=True)
    z -= largest
    np.exp(z, out=z)
    return np.asarray(largest[..., 0] + np.log(z.sum(axis=-1)) - chosen)
