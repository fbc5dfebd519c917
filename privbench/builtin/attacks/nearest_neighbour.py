"""Nearest neighbours of generated examples: whether they are closer to members than to non-members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import component
from privbench.features import FeatureOptions, distance_to, published
from privbench.stats import intervals
from privbench.stats.intervals import Bounded
from privbench.stats.neighbours import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array
    from privbench.api import Evidence


LOW, HIGH = 5, 95


@component
class NearestNeighbour(FeatureOptions):
    """Score the number of synthetic examples whose nearest candidate is this one.

    s(x) = votes(x) + 1 / (2 + d(x)), where d(x) is the distance of x to its nearest synthetic example; the second term
    is below 1, so that it only orders candidates with equal votes. A vote for one candidate counts for all equal ones.

    The paper shows the nearest training images next to generated ones for visual inspection; votes are our reading of
    that as an attack. The findings use the true membership:

    memorisation_rate: the share of distinct synthetic examples whose nearest member is nearer than their nearest
    non-member; ties count half; 0.5 without memorisation. All members and non-members are searched: if their numbers
    differ, the rate is rescaled so that chance is 0.5 and 1/2 + c/2 corresponds to a share c of copies.

    distance_ratio: median of (distance to the nearest member) / (to the nearest non-member), with equally many of both,
    drawn from the more numerous; 1 without memorisation.

    distance_ratio_low, distance_ratio_high: its 5th and 95th percentiles, inverses of each other without memorisation:
    a few copies among many fresh examples affect the first before the median.
    """

    name: ClassVar[str] = "nearest-neighbour"
    paper: ClassVar[str] = (
        "after Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, arXiv 1803.03148"
    )

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed where there are no synthetic examples."""
        encode = self.encoder(evidence)
        candidates, generated = encode(evidence.x), encode(published(evidence.synthetic).x)
        # Equal candidates count as one, so that their order does not matter.
        points, which = np.unique(candidates, axis=0, return_inverse=True)
        which = which.reshape(-1)  # some releases of NumPy 2 give it the shape of what was searched
        votes = np.bincount(nearest(generated, points)[1][:, 0], minlength=len(points))
        return votes[which] + 1 / (2 + distance_to(candidates, generated))

    def findings(self, evidence: Evidence, scores: Array) -> Mapping[str, Any]:  # noqa: ARG002
        """Return candidates and distinct synthetic examples as they are compared, and random numbers."""
        encode = self.encoder(evidence)
        generated = np.unique(encode(published(evidence.synthetic).x), axis=0)
        return {"candidates": encode(evidence.x), "generated": generated, "rng": evidence.rng("equal sizes")}

    def judged(self, found: Mapping[str, Any], scores: Array, member: Array) -> Mapping[str, float]:  # noqa: ARG002
        """Return the memorisation rate and quantiles of distances, without non-finite values."""
        if member.all() or not member.any():
            return {}
        candidates, generated, rng = found["candidates"], found["generated"], found["rng"]
        distant = [nearest(generated, candidates[rows]) for rows in (member, ~member)]
        (inside, first), (outside, second) = ((distances[:, 0], rows[:, 0]) for distances, rows in distant)
        count = int(member.sum())
        rate = memorisation(inside, outside, np.where(inside <= outside, first, count + second), count / len(member))
        equal = min(count, len(member) - count)
        ends = []
        for rows, distances in ((np.flatnonzero(member), inside), (np.flatnonzero(~member), outside)):
            drawn = rows if len(rows) == equal else rng.choice(rows, equal, replace=False)
            ends.append(distances if len(rows) == equal else distance_to(generated, candidates[drawn]))
        return {"memorisation_rate": rate, **ratios(*ends)}


def memorisation(inside: Array, outside: Array, which: Array, chance: float) -> Bounded:
    """Return how often the first distance is the smaller one, rescaled so that `chance` is 0.5, and its interval.

    inside, outside: (m,) distances of distinct synthetic examples to the nearest member and to the nearest non-member
    which: (m,) indices of their nearest candidates
    chance: share of members among the candidates, the rate without memorisation

    Synthetic examples near the same candidate are dependent: m of them count as m^2 / (sum of the squared numbers per
    candidate) (Kish's effective sample size), which is 1 if all are near one.
    """
    m = len(inside)
    share = float(np.mean(np.where(inside == outside, chance, inside < outside)))
    effective = m**2 / float(np.square(np.unique(which, return_counts=True)[1]).sum())
    low, high = intervals.clopper_pearson(share * effective, effective)
    value, low, high = (max(0.5 + (each - chance) / (2 * (1 - chance)), 0.0) for each in (share, low, high))
    return Bounded(value, of=m, alone=intervals.estimate(value, low, high, m))


def ratios(inside: Array, outside: Array) -> dict[str, float]:
    """Return quantiles of the ratio of the first to the second distances, (m,) each, without infinite ones."""
    ratio = np.ones(len(inside))  # 0 / 0: a copy of both sides, nearer to neither
    np.divide(inside, outside, out=ratio, where=outside > 0)
    ratio[(outside == 0) & (inside > 0)] = np.inf
    found = {"distance_ratio": 50, "distance_ratio_low": LOW, "distance_ratio_high": HIGH}
    values = {name: Bounded(_percentile(ratio, percent), most=np.inf) for name, percent in found.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _percentile(values: Array, percent: int) -> float:
    """Return a percentile; infinite if one of the neighbouring values is."""
    above = np.percentile(values, percent, method="higher")
    finite = np.where(np.isinf(values), np.finfo(np.float64).max, values)  # interpolating infinities warns
    return float(np.percentile(finite, percent)) if np.isfinite(above) else np.inf
