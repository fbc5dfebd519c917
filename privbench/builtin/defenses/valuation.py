"""Privacy levels: risky training examples, which an attack detects for every model, and safe ones.

After "Fake data training and transform by CycleGAN", section 3.2.

The models of an ensemble rank examples by their distances from a threshold (`valuing.py`), and vote. Pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from privbench.errors import BadOption

if TYPE_CHECKING:
    from privbench.aliases import Array

Distance: TypeAlias = Literal["signed", "abs"]

SAFE, VAGUE, RISKY = range(3)
LEVELS = ("safe", "vague", "risky")
"""Names of the privacy levels, at the positions of their numbers."""
BINS = (*((tenth / 10, (tenth + 1) / 10) for tenth in range(10)), (0.0, 0.25), (0.0, 0.5), (0.5, 1.0), (0.75, 1.0))
"""The bins of the overlap table, as fractions of a ranking from safe to risky."""


def ranks(u: Array, distance: Distance = "signed") -> Array:
    """Return (models, n) int64: the rank of each example for each model, 0 = safest.

    u: (models, n), distances of signals above the threshold

    signed: by u, so that the safest is the least like a member; abs: by |u|, so that the safest is the one closest to
    the threshold (the paper's). Ties are broken by position.
    """
    order = np.argsort(np.abs(u) if distance == "abs" else u, axis=1, kind="stable")
    out = np.empty(u.shape, dtype=np.int64)
    np.put_along_axis(out, order, np.broadcast_to(np.arange(u.shape[1]), u.shape), axis=1)
    return out


def levels(places: Array, quantile: float = 0.5, votes: int | None = None) -> Array:
    """Return each example's privacy level (n,) int8: SAFE, VAGUE or RISKY.

    places: (models, n) from `ranks`

    A model votes safe for ranks below quantile * n and risky for those from (1 - quantile) * n; a level requires
    `votes` votes (None: all), and examples with neither are vague. Raises BadOption for a quantile or votes with which
    an example could be both.
    """
    models, n = places.shape
    needed = models if votes is None else votes
    if not 0 < quantile <= 1 / 2 or not models < 2 * needed <= 2 * models:
        raise BadOption(f"quantile={quantile:g} with {needed} of {models} votes makes no partition into levels.")
    safe = (places < quantile * n).sum(axis=0) >= needed
    risky = (places >= (1 - quantile) * n).sum(axis=0) >= needed
    return np.where(safe, SAFE, np.where(risky, RISKY, VAGUE)).astype(np.int8)


def overlap(places: Array, start: float, end: float) -> float:
    """Return the overlap ratio: of the examples in one bin of the rankings, the share that is in it for all models.

    places: (models, n) from `ranks`; the bin is start * n <= place < end * n

    The paper's eq. 1, with N (b_e - b_s) in whole examples, so that equal rankings give 1; nan for an empty bin.
    """
    n = places.shape[1]
    inside = (places >= start * n) & (places < end * n)
    size = int(inside[0].sum())
    return float(inside.all(axis=0).sum() / size) if size else float("nan")


def overlap_null(models: int, start: float, end: float) -> float:
    """Return the overlap ratio expected of independent rankings: (end - start)^(M - 1)."""
    return float((end - start) ** (models - 1))


def overlap_table(places: Array) -> Array:
    """Return (bins, 4) float64: start, end, overlap ratio and its null for each of BINS."""
    models = places.shape[0]
    return np.array([(*edges, overlap(places, *edges), overlap_null(models, *edges)) for edges in BINS])
