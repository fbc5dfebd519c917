"""Attack-R: the rank of the target's loss on an example among those of models trained without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import ShadowOptions, component, shadow_signals
from privbench.errors import CellFailed
from privbench.stats import signals
from privbench_attacks.shadows import mean_over

if TYPE_CHECKING:
    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]

UNKNOWN = 0.5


@component
class AttackR(ShadowOptions):
    """The share of OUT shadows j with at least the same loss on the example: mean over j of 1[loss <= loss_j].

    With J OUT shadows it has at most J + 1 values: a non-member beats them all with probability 1 / (J + 1) by chance
    alone, so that no threshold has a smaller false-positive rate, and TPR at 1 % FPR is 0 with fewer than about a
    hundred (16 models have J = 7). Losses are compared as logits of the confidence, which have the same order and do
    not saturate. An example in every shadow scores 0.5.

    Ye et al. smooth the distribution of losses to reach smaller rates; this is omitted here, because it leads to
    `calibrated-loss` and LiRA offline.
    """

    name: ClassVar[str] = "attack-r"
    paper: ClassVar[str] = (
        "Ye, Maddi, Murakonda, Bindschaedler, Shokri: Enhanced Membership Inference Attacks against Machine Learning "
        "Models, CCS 2022 (2111.09679)"
    )

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64 in [0, 1]. Raises CellFailed without an OUT shadow for any example."""
        shadow, member = shadow_signals(evidence, signals.phi)
        outside = ~member
        known = outside.any(axis=0)
        if not known.any():
            raise CellFailed("attack-r needs shadows trained without an example; here no example has one.")
        beaten = evidence.signals(signals.phi)[:, 0] >= shadow[:, :, 0]
        return np.where(known, mean_over(beaten.astype(np.float64), outside), UNKNOWN)
