"""Threshold attacks: one score per example, and a threshold above which the example is classified as a member.

Thresholds are calibrated on the shadow models, whose membership the attacker knows, and never on the target; the
balanced accuracy at the best threshold of the target itself is the separate, labelled oracle column of the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import Needs, ShadowOptions, component, option, shadow_signals
from privbench.errors import CellFailed
from privbench.stats import metrics, signals

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Evidence, Signal


THRESHOLDS_HELP = "one threshold per class, or one for all, fitted on the shadow models"


Cut: TypeAlias = Literal["midpoint", "value"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ThresholdOptions(ShadowOptions):
    """Calibration of a threshold on the shadow models, but `thresholds`, whose default differs between attacks."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"official": {"thresholds": "class", "cut": "value"}}
    """The thresholds of Song and Mittal's code (inspire-group/membership-inference-evaluation)."""

    cut: Cut = option(
        "midpoint",
        "among equally good thresholds: the highest, midway between scores; value: the first of the scores (authors')",
    )


@component
class Correctness:
    """Score 1 if the target predicts the label, else 0: exactly the gap between training and test accuracy.

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
class Confidence(ThresholdOptions):
    """Score log p_y, the negative loss, minus its threshold on the shadows."""

    name: ClassVar[str] = "confidence"
    paper: ClassVar[str] = (
        "Yeom, Giacomelli, Fredrikson, Jha: Privacy Risk in Machine Learning, CSF 2018 (1709.01604); "
        "Song, Shokri, Mittal: Privacy Risks of Securing Machine Learning Models, CCS 2019 (1905.10291)"
    )
    threshold: ClassVar[float] = 0.0

    thresholds: Literal["class", "global"] = option("global", THRESHOLDS_HELP)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member."""
        return above_threshold(evidence, signals.log_confidence, self.thresholds, self.cut)


@component
class Entropy(ThresholdOptions):
    """Score sum_i p_i log p_i, which needs no label, minus its threshold on the shadows.

    It classifies an example with a confidently wrong prediction as a member.
    """

    name: ClassVar[str] = "entropy"
    paper: ClassVar[str] = "Salem et al.: ML-Leaks, NDSS 2019 (1806.01246)"
    threshold: ClassVar[float] = 0.0

    thresholds: Literal["class", "global"] = option("global", THRESHOLDS_HELP)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member."""
        return above_threshold(evidence, signals.neg_entropy, self.thresholds, self.cut)


@component
class ModifiedEntropy(ThresholdOptions):
    """Score (1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i), minus its class's threshold on the shadows.

    It is monotone in p_y, unlike the entropy. Class-wise thresholds are the authors' default. For a class with few
    examples, many thresholds are equally good on the shadows. The default is the highest of these, midway between two
    scores, which does not depend on the order of examples; the authors' code takes the first in the order of members,
    then non-members, and always one of the scores (`preset=official`). On 16 MLPs for digits the two decide 1.4 % of
    examples differently (5.9 % for one target), with balanced accuracies of 56.2 and 56.3 %.
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
        return above_threshold(evidence, signals.neg_modified_entropy, self.thresholds, self.cut)


def above_threshold(
    evidence: Evidence, signal: Signal, thresholds: Literal["class", "global"], cut: Cut = "midpoint"
) -> Array:
    """Return the target's signal minus the threshold that is best on the shadows, (n,) float64.

    thresholds: "class" fits one per class, on the members and non-members of that class of every shadow; a class with
        only members, or only non-members, among the shadows uses the global one
    cut: the choice among equally good thresholds

    Raises CellFailed without shadows.
    """
    best = metrics.best_threshold if cut == "midpoint" else first_best_score
    shadow, member = shadow_signals(evidence, signal)
    shadow = shadow[:, :, 0]
    tau = np.full(len(evidence.labels), np.nan)
    if thresholds == "class":
        for label in np.unique(evidence.labels):
            rows = np.flatnonzero(evidence.labels == label)
            in_class = member[:, rows]
            if in_class.any() and not in_class.all():
                tau[rows] = best(shadow[:, rows], in_class)
    unset = np.isnan(tau)
    if unset.any():
        tau[unset] = best(shadow, member)
    return np.asarray(evidence.signals(signal)[:, 0] - tau)


def first_best_score(scores: Array, member: Array) -> float:
    """Return the score t for which `scores >= t` has the highest balanced accuracy; the first of equally good ones.

    The order is that of Song and Mittal's code: members' scores, then non-members'. Accuracies are summed as there,
    since rounding decides whether two of them are equal. Raises CellFailed without members or without non-members.
    """
    inside, outside = scores[member], scores[~member]
    if not len(inside) or not len(outside):
        raise CellFailed("cannot calibrate a threshold: it takes scores of members and of non-members.")
    candidates = np.concatenate([inside, outside])
    missed = np.searchsorted(np.sort(inside), candidates, side="left")
    rejected = np.searchsorted(np.sort(outside), candidates, side="left")
    accuracy = 0.5 * ((len(inside) - missed) / len(inside) + rejected / len(outside))
    return float(candidates[np.argmax(accuracy)])
