"""Nearest neighbours of generated examples: whether they resemble members more than others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import component
from privbench.attacks.published import FeatureOptions, distance_to, published
from privbench.intervals import Bounded
from privbench.neighbours import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.evidence import Evidence

Array: TypeAlias = npt.NDArray[Any]

LOW, HIGH = 5, 95


@component
class NearestNeighbour(FeatureOptions):
    """Score how many synthetic examples have this candidate as their nearest of all.

    s(x) = votes(x) + 1 / (2 + d(x)), the second term being under 1, so that it only orders candidates of equal votes:
    d(x) is the distance of x to its nearest synthetic example. A vote for one candidate is
    one for each that equals it.

    The paper shows the nearest training images beside generated ones for people to look at; votes are our reading of
    that as an attack. What it reports besides, with the truth:

    memorisation_rate     how often a synthetic example's nearest member is nearer than its nearest non-member, of
                          equally many of both; ties count half; 0.5 where nothing is memorised
    distance_ratio        median of (distance to the nearest member) / (to the nearest non-member); 1 likewise
    distance_ratio_low    its 5th and 95th percentiles, one being the inverse of the other where nothing is memorised:
    distance_ratio_high   a few copies among many fresh examples show in the first before they move the median
    """

    name: ClassVar[str] = "nearest-neighbour"
    paper: ClassVar[str] = (
        "after Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, arXiv 1803.03148"
    )

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed where there are no synthetic examples."""
        encode = self.encoder(evidence)
        candidates, generated = encode(evidence.x), encode(published(evidence.synthetic).x)
        # Equal candidates are one, so that it does not matter which of them is listed first.
        points, which = np.unique(candidates, axis=0, return_inverse=True)
        which = which.reshape(-1)  # some releases of NumPy 2 give it the shape of what was searched
        votes = np.bincount(nearest(generated, points)[1][:, 0], minlength=len(points))
        return votes[which] + 1 / (2 + distance_to(candidates, generated))

    def findings(self, evidence: Evidence, scores: Array, member: Array) -> Mapping[str, float]:  # noqa: ARG002
        """Return the memorisation rate and quantiles of distances; what has no finite value is left out."""
        encode = self.encoder(evidence)
        candidates, generated = encode(evidence.x), encode(published(evidence.synthetic).x)
        sides = [np.flatnonzero(member), np.flatnonzero(~member)]
        equal = min(map(len, sides))
        if equal == 0:
            return {}
        rng = evidence.rng("equal sizes")
        sides = [rows if len(rows) == equal else rng.choice(rows, equal, replace=False) for rows in sides]
        inside, outside = (distance_to(generated, candidates[rows]) for rows in sides)
        return memorisation(inside, outside)


def memorisation(inside: Array, outside: Array) -> dict[str, float]:
    """Return the rate at which the first distances are the smaller ones, and quantiles of their ratio.

    inside, outside: (m,) distances of synthetic examples to the nearest of equally many members and non-members.
    """
    rate = Bounded(np.mean((inside < outside) + 0.5 * (inside == outside)), of=len(inside))
    ratio = np.ones(len(inside))  # 0 / 0: copied from both sides, nearer to neither
    np.divide(inside, outside, out=ratio, where=outside > 0)
    ratio[(outside == 0) & (inside > 0)] = np.inf
    percentiles = {"distance_ratio": 50, "distance_ratio_low": LOW, "distance_ratio_high": HIGH}
    found = {"memorisation_rate": rate}
    found |= {name: Bounded(_percentile(ratio, at), most=np.inf) for name, at in percentiles.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _percentile(values: Array, percent: int) -> float:
    """Return a percentile; infinite where it lies between values of which one is."""
    above = np.percentile(values, percent, method="higher")
    finite = np.where(np.isinf(values), np.finfo(np.float64).max, values)  # interpolating infinities warns
    return float(np.percentile(finite, percent)) if np.isfinite(above) else np.inf
