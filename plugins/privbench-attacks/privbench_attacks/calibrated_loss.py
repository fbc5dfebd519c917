"""Calibrated loss: the loss minus its expectation for an example of the same difficulty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import ShadowOptions, component, option, shadow_signals
from privbench.errors import CellFailed
from privbench.stats import signals
from privbench_attacks.shadows import mean_over

if TYPE_CHECKING:
    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]


@component
class CalibratedLoss(ShadowOptions):
    """The target's confidence minus its expectation from shadow models: LiRA without variances.

        online    phi - (mu_in + mu_out) / 2        Sablayrolles et al.: the threshold of equal variances
        offline   phi - mu_out                      Watson et al.

    phi is the logit of the confidence, mu its mean over IN and OUT shadows, of which one each suffices. Both papers use
    the loss itself, which saturates near 0 (`scale=loss`). An example without IN or OUT shadows (offline: OUT) scores
    0.
    """

    name: ClassVar[str] = "calibrated-loss"
    paper: ClassVar[str] = (
        "Sablayrolles, Douze, Schmid, Ollivier, Jegou: White-box vs Black-box: Bayes Optimal Strategies for Membership "
        "Inference, ICML 2019 (1908.11229); Watson, Guo, Cormode, Sablayrolles: On the Importance of Difficulty "
        "Calibration in Membership Inference Attacks, ICLR 2022 (2111.08440)"
    )

    mode: Literal["online", "offline"] = option("online", "compare with IN and OUT shadows, or with OUT shadows only")
    scale: Literal["logit", "loss"] = option("logit", "logit of the confidence, or minus the loss")

    @property
    def threshold(self) -> float | None:
        """Online 0, midway between what IN and OUT shadows have; offline there is no natural point."""
        return 0.0 if self.mode == "online" else None

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed without shadows, or with shadows of one kind only."""
        signal = signals.phi if self.scale == "logit" else signals.log_confidence
        shadow, member = shadow_signals(evidence, signal)
        shadow = shadow[:, :, 0]
        expected, outside = mean_over(shadow, ~member), (~member).any(axis=0)
        known = outside
        if self.mode == "online":
            expected = (expected + mean_over(shadow, member)) / 2
            known = outside & member.any(axis=0)
        if not known.any():
            kind = "without" if self.mode == "offline" else "both with and without"
            offline = "; mode=offline takes those without it alone" if outside.any() else ""
            raise CellFailed(
                f"calibrated-loss ({self.mode}) needs shadows trained {kind} an example; none has them{offline}."
            )
        return np.where(known, evidence.signals(signal)[:, 0] - expected, 0.0)
