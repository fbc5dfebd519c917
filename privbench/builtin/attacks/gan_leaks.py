"""GAN-Leaks: membership by the distance to the nearest generated example."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Needs, component, option
from privbench.errors import CellFailed
from privbench.features import FeatureOptions, distance_to, published

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Evidence, Examples
    from privbench.features import Encoder


@component
class GanLeaks(FeatureOptions):
    """Score minus the Euclidean distance to the nearest synthetic example: the full black-box attack of GAN-Leaks.

    plain:        s(x) = -d(x),  d(x) = min_j |f(x) - f(g_j)|
    calibrated:   s(x) = -(d(x) - mean over shadows trained without x of their d(x))

    Calibration corrects for common examples, which are near to the output of any generator, members or not. The paper
    has one reference generator, trained on the attacker's data; here the references are the adaptive shadows trained
    without x, as in LiRA, and an example without such a shadow scores 0. The authors' code draws 20,000 samples or
    more; here there are as many as the defense publishes. `by_class` is ours: it only considers synthetic examples with
    the label of x.
    """

    name: ClassVar[str] = "gan-leaks"
    paper: ClassVar[str] = (
        "Chen, Yu, Zhang, Fritz: GAN-Leaks: A Taxonomy of Membership Inference Attacks against Generative Models, "
        "CCS 2020 (1909.03935)"
    )

    calibrated: bool = option(False, "subtract the distance to the synthetic examples of shadows trained without x")
    by_class: bool = option(False, "only consider synthetic examples with the label of x, if there are any")

    @property
    def needs(self) -> Needs:
        """The candidates and the synthetic examples, of the target and, if calibrated, of adaptive shadows."""
        return replace(super().needs, shadows="adaptive" if self.calibrated else "none")

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed without synthetic examples or, if calibrated, without shadows."""
        encode, labels = self.encoder(evidence), evidence.labels
        queries = encode(evidence.x)
        distances = self._distances(queries, labels, published(evidence.synthetic), encode)
        if not self.calibrated:
            return -distances
        outside = ~evidence.shadow_member
        if not outside.any():
            raise CellFailed("gan-leaks:calibrated=true needs shadow models: use at least 4 models (--models 4).")
        totals = np.zeros(len(labels))
        for shadow, rows in enumerate(outside):
            if rows.any():
                synthetic = published(evidence.shadow_synthetic(shadow))
                totals[rows] += self._distances(queries[rows], labels[rows], synthetic, encode)
        count = outside.sum(axis=0)
        return np.where(count > 0, totals / np.maximum(count, 1) - distances, 0.0)

    def _distances(self, queries: Array, labels: Array, synthetic: Examples, encode: Encoder) -> Array:
        """Return (m,) distances to the nearest synthetic example, of the same label if requested."""
        points = encode(synthetic.x)
        if not self.by_class:
            return distance_to(queries, points)
        out = np.empty(len(queries))
        for label in np.unique(labels):
            rows, own = labels == label, synthetic.y == label
            out[rows] = distance_to(queries[rows], points[own] if own.any() else points)
        return out
