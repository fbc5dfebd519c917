"""Collapse and copies of a generator: distances between generated examples and to members."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Examples

COLLAPSED = 0.5
"""A class whose diversity is below this has collapsed."""
COPY_PERCENTILE = 1
"""A copy is closer to a member than this percentile of members is to another of their class."""
DIVERSITY_SAMPLE = 256
NEAREST_SAMPLE = 2000
"""Numbers of examples used, evenly spaced: per class for diversity, in total for nearest members."""
ROUNDING = 1e-5
"""Relative tolerance of squared distances in float32."""
CHUNK = 128


def quality(real: Examples, fake: Examples) -> dict[str, float]:
    """Return facts of generated examples, compared with the real examples on which their generator was trained.

    diversity: mean distance of two generated examples of a class / of two real ones, the minimum over classes
    collapsed_classes: number of classes with a diversity below 0.5
    nearest_member: median distance of a generated example to the nearest member of its class / of a member to the
        nearest other one; 1 for fresh draws of the same distribution, near 0 for copies
    copies: share of generated examples that are closer to a member than all but 1 % of members are to another

    Distances are Euclidean between pixels in [0, 1]. Classes with fewer than two examples on either side are omitted,
    and so are facts without any class. Large sets are thinned evenly, so that the same examples give the same facts.
    """
    diversity, to_member, among = [], [], []
    total = max(1, len(fake))
    for label in np.unique(fake.y):
        members, generated = _rows(real, label), _rows(fake, label)
        if len(members) < 2:  # noqa: PLR2004 - a distance takes two
            continue
        if len(generated) > 1:
            diversity.append(_spread(generated) / max(_spread(members), np.finfo(np.float32).tiny))
        looked_at = max(1, NEAREST_SAMPLE * len(generated) // total)
        to_member.append(_nearest(_thin(generated, looked_at), members))
        among.append(_nearest(_thin(members, looked_at), members, others=True))
    facts = {}
    if diversity:
        facts["diversity"] = float(min(diversity))
        facts["collapsed_classes"] = float(sum(each < COLLAPSED for each in diversity))
    if among:
        facts |= _nearest_facts(np.concatenate(to_member), np.concatenate(among))
    return facts


def _nearest_facts(to_member: Array, among: Array) -> dict[str, float]:
    usual = float(np.median(among))
    facts = {"copies": float((to_member <= np.percentile(among, COPY_PERCENTILE)).mean())}
    if usual > 0:  # 0 if most members are duplicates, which cannot be undercut
        facts["nearest_member"] = float(np.median(to_member)) / usual
    return facts


def _rows(examples: Examples, label: Any) -> Array:
    """Return the examples of a class as (n, pixels), in their dtype."""
    chosen = examples.x[examples.y == label]
    rows: Array = chosen.reshape(len(chosen), math.prod(chosen.shape[1:]))
    return rows


def _thin(rows: Array, most: int) -> Array:
    """Return at most so many rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _spread(rows: Array) -> float:
    """Return the mean distance of two different rows."""
    rows = _as_float(_thin(rows, DIVERSITY_SAMPLE))
    distances = np.sqrt(_squares(rows, rows))
    np.fill_diagonal(distances, 0)
    return float(distances.sum() / (len(rows) * (len(rows) - 1)))


def _nearest(rows: Array, members: Array, *, others: bool = False) -> Array:
    """Return the distance of each row to the nearest member; `others`: rows are members, not their own neighbours."""
    members, nearest = _as_float(members), []
    for i in range(0, len(rows), CHUNK):
        squares = _squares(_as_float(rows[i : i + CHUNK]), members)
        # A member's distance to itself is the minimum of its row, up to rounding; duplicates are each other's nearest.
        nearest.append(np.partition(squares, 1, axis=1)[:, 1] if others else squares.min(axis=1))
    distances: Array = np.sqrt(np.concatenate(nearest))
    return distances


def _squares(a: Array, b: Array) -> Array:
    """Return the squared distances (len(a), len(b)); differences below float32's resolution are 0."""
    norms_a, norms_b = np.square(a).sum(axis=1)[:, None], np.square(b).sum(axis=1)
    squares: Array = norms_a + norms_b - 2 * (a @ b.T)
    squares[squares < ROUNDING * (norms_a + norms_b)] = 0
    return squares


def _as_float(rows: Array) -> Array:
    return rows.astype(np.float32) / np.float32(255) if rows.dtype == np.uint8 else rows.astype(np.float32)
