"""Privacy risk score: the posterior probability of membership, estimated on shadow models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import ShadowOptions, component, option, shadow_signals
from privbench.errors import CellFailed
from privbench.stats import signals

if TYPE_CHECKING:
    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]

SMALLEST = 1e-10
"""What a smaller value counts as before its logarithm is taken: the authors'."""
UNKNOWN = 0.5


@component
class RiskScore(ShadowOptions):
    """P(bin | in) / (P(bin | in) + P(bin | out)): the posterior of membership with equal priors, from histograms.

    The histograms are of the modified entropy (or the loss), one of members and one of non-members for each class, over
    bins of equal width in its logarithm, between the minimum and maximum of all the shadows' values. A value beyond
    them counts in the outermost bin; for an empty bin the nearest non-empty one is used, the lower one first: all as in
    the authors' code. Without members or non-members of a class, its examples score 0.5.

    It is meant for individual examples, not for ranking: with c classes and b bins it has at most c b values.
    """

    name: ClassVar[str] = "risk-score"
    paper: ClassVar[str] = (
        "Song, Mittal: Systematic Evaluation of Privacy Risks of Machine Learning Models, "
        "USENIX Security 2021 (2003.10595)"
    )
    threshold: ClassVar[float] = 0.5

    signal: Literal["m-entropy", "loss"] = option("m-entropy", "statistic to bin: modified entropy, or minus log p_y")
    bins: int = option(5, "bins of each class", ge=1)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64 in [0, 1]. Raises CellFailed without shadows, or where no class has both kinds."""
        function = signals.neg_modified_entropy if self.signal == "m-entropy" else signals.log_confidence
        shadow, member = shadow_signals(evidence, function)
        shadow, own = (np.log(np.maximum(-each[..., 0], SMALLEST)) for each in (shadow, evidence.signals(function)))
        scores = np.full(len(own), np.nan)
        for label in np.unique(evidence.labels):
            rows = np.flatnonzero(evidence.labels == label)
            values, inside = shadow[:, rows].ravel(), member[:, rows].ravel()
            if inside.any() and not inside.all():
                scores[rows] = posterior(values, inside, own[rows], self.bins)
        if np.isnan(scores).all():
            raise CellFailed("risk-score needs shadows' members and non-members of some class; no class has both.")
        return np.where(np.isnan(scores), UNKNOWN, scores)


def posterior(values: Array, inside: Array, own: Array, bins: int) -> Array:
    """Return P(bin | in) / (P(bin | in) + P(bin | out)) for the bin of each of `own`, (m,).

    values: (k,) log-values of known membership `inside`, (k,) bool, of both kinds. Bins are closed below.
    """
    edges = np.linspace(values.min(), values.max(), bins + 1)

    def place(x: Array) -> Array:
        return np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)

    rates = [np.bincount(place(values[kind]), minlength=bins) / kind.sum() for kind in (inside, ~inside)]
    filled = np.flatnonzero(rates[0] + rates[1])
    distance = np.abs(np.arange(bins)[:, None] - filled)
    nearest = filled[distance.argmin(axis=1)]  # the first of equals: the lower one
    return np.asarray((rates[0] / np.maximum(rates[0] + rates[1], np.finfo(float).tiny))[nearest][place(own)])
