"""Threshold attacks: one number per example, and a line above which it is called a member.

The lines are drawn on the shadow models, whose membership the attacker knows, and never on the target; balanced
accuracy at the best line of the target itself is the metrics' separate, labelled oracle column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench import metrics, signals
from privbench.api import Needs, component, option
from privbench.attacks.shadows import ShadowOptions, shadow_signals

if TYPE_CHECKING:
    from privbench.evidence import Evidence, Signal

Array: TypeAlias = npt.NDArray[Any]

THRESHOLDS_HELP = "one threshold per class, or one for all, fitted on the shadow models"


@component
class Correctness:
    """Score 1 where the target predicts the label, else 0: the gap between training and test accuracy, no more.

    Its balanced accuracy is 1/2 + (training accuracy - test accuracy) / 2.
    """

    name: ClassVar[str] = "correctness"
    paper: ClassVar[str] = "Yeom, Giacomelli, Fredrikson, Jha: Privacy Risk in Machine Learning, CSF 2018 (1709.01604)"
    needs: ClassVar[Needs] = Needs(answers="labels")
    threshold: ClassVar[float] = 0.5

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64, 0 or 1."""
        return np.asarray(evidence.predictions[:, 0] == evidence.labels, dtype=np.float64)


@component
class Confidence(ShadowOptions):
    """Score log p_y, which is minus the loss, less its threshold on the shadows."""

    name: ClassVar[str] = "confidence"
    paper: ClassVar[str] = (
        "Yeom, Giacomelli, Fredrikson, Jha: Privacy Risk in Machine Learning, CSF 2018 (1709.01604); "
        "Song, Shokri, Mittal: Privacy Risks of Securing Machine Learning Models, CCS 2019 (1905.10291)"
    )
    threshold: ClassVar[float] = 0.0

    thresholds: Literal["class", "global"] = option("global", THRESHOLDS_HELP)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member."""
        return above_threshold(evidence, signals.log_confidence, self.thresholds)


@component
class Entropy(ShadowOptions):
    """Score sum_i p_i log p_i, which needs no label, less its threshold on the shadows.

    It takes a confidently wrong answer for a member's.
    """

    name: ClassVar[str] = "entropy"
    paper: ClassVar[str] = "Salem et al.: ML-Leaks, NDSS 2019 (1806.01246)"
    threshold: ClassVar[float] = 0.0

    thresholds: Literal["class", "global"] = option("global", THRESHOLDS_HELP)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member."""
        return above_threshold(evidence, signals.neg_entropy, self.thresholds)


@component
class ModifiedEntropy(ShadowOptions):
    """Score (1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i), less its class's threshold on the shadows.

    Monotone in p_y where entropy is not. Class-wise thresholds are the authors' default.
    """

    name: ClassVar[str] = "m-entropy"
    paper: ClassVar[str] = (
        "Song, Mittal: Systematic Evaluation of Privacy Risks of Machine Learning Models, "
        "USENIX Security 2021 (2003.10595)"
    )
    threshold: ClassVar[float] = 0.0

    thresholds: Literal["class", "global"] = option("class", THRESHOLDS_HELP)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member."""
        return above_threshold(evidence, signals.neg_modified_entropy, self.thresholds)


def above_threshold(evidence: Evidence, signal: Signal, thresholds: Literal["class", "global"]) -> Array:
    """Return the target's signal less the threshold that suits the shadows best, (n,) float64.

    thresholds: "class" fits one per class, on every shadow's members and non-members of that class together; a class
    of which the shadows know only members, or only non-members, takes the global one.
    Raises CellFailed without shadows.
    """
    shadow, member = shadow_signals(evidence, signal)
    shadow = shadow[:, :, 0]
    tau = np.full(len(evidence.labels), np.nan)
    if thresholds == "class":
        for label in np.unique(evidence.labels):
            rows = np.flatnonzero(evidence.labels == label)
            in_class = member[:, rows]
            if in_class.any() and not in_class.all():
                tau[rows] = metrics.best_threshold(shadow[:, rows], in_class)
    unset = np.isnan(tau)
    if unset.any():
        tau[unset] = metrics.best_threshold(shadow, member)
    return np.asarray(evidence.signals(signal)[:, 0] - tau)
