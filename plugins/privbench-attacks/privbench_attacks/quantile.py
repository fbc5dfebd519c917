"""Quantile regression: the target's margin on an example, relative to that expected of a non-member."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import Needs, component, option
from privbench.errors import CellFailed
from privbench.stats.intervals import Bounded
from privbench_attacks.regression import Gaussian, Pinball, cross_fitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]

LEAST = 20
"""Reference examples without which there is nothing to fit."""
CHECKED = (0.05, 0.01)
"""False-positive rates of which the findings say what came of them."""


@component
class Quantile:
    """How far the target's margin h = z_y - max_{j != y} z_j lies above what a regression expects of a non-member.

    The regression is fitted on the attacker's reference examples alone and takes no shadow models. Of an example's
    inputs and label it gives the quantile q_a(x) that the margin of a non-member exceeds with probability a:

        gaussian   mu(x) + z_{1-a} sd(x), mu and log sd fitted by likelihood; the score is (h - mu) / sd
        pinball    41 quantiles, a from 1e-4 to 1 evenly in the logarithm, by pinball loss, sorted so that they do not
                   cross; the score is the z_{1-a} at which q_a = h, interpolated

    Either is set right on folds that it was not fitted on; the Gaussian's score is warped there until it is normal,
    as margins are skewed. With `fpr` an example is called a member if h > q_fpr(x), and the findings tell what rate
    came of 5 % and of 1 %. Below one in the number of reference examples (digits: 153) no rate is vouched for.

    The paper fits a ConvNeXt to tens of thousands of images, without their labels. Here the model is linear in the
    leading principal components of the inputs and in the label, with the penalty on slopes that folds prefer: of a few
    hundred examples hardly more can be learnt. Of images that pixels do not describe it knows the label only.
    """

    name: ClassVar[str] = "quantile"
    paper: ClassVar[str] = (
        "Bertran, Tang, Kearns, Morgenstern, Roth, Wu: Scalable Membership Inference Attacks via Quantile Regression, "
        "NeurIPS 2023 (2307.03694)"
    )
    needs: ClassVar[Needs] = Needs(reference=True, examples=True)

    head: Literal["gaussian", "pinball"] = option(
        "gaussian", "output of the regression: mean and deviation, or each quantile"
    )
    components: int = option(16, "principal components of the inputs in the quantile regression; 0: labels only", ge=0)
    fpr: float | None = option(
        None, "false-positive rate of the decisions; none: a threshold calibrated on shadow models", gt=0, lt=1
    )

    @property
    def threshold(self) -> float | None:
        """The score of a margin that is just q_fpr(x)."""
        return None if self.fpr is None else NormalDist().inv_cdf(1 - self.fpr)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64. Raises CellFailed with fewer than 20 reference examples."""
        reference = evidence.reference
        if len(reference.labels) < LEAST:
            raise CellFailed(f"quantile needs {LEAST} reference examples; the task keeps {len(reference.labels)}.")
        rng = evidence.rng("quantile")
        fitted = Features(reference.x, reference.labels, evidence.classes, self.components, int(rng.integers(2**31)))
        head = Gaussian if self.head == "gaussian" else Pinball
        known = fitted(reference.x, reference.labels)
        regression = cross_fitted(head, known, reference.signals(margin)[:, 0], rng)
        return regression.score(fitted(evidence.x, evidence.labels), evidence.signals(margin)[:, 0])

    def findings(self, evidence: Evidence, scores: Array) -> Mapping[str, float]:  # noqa: ARG002
        """Return nothing: the numbers take the truth."""
        return {}

    def judged(self, found: Mapping[str, float], scores: Array, member: Array) -> Mapping[str, float]:  # noqa: ARG002
        """Return the false-positive rates that came of thresholds meant for 5 % and 1 %."""
        if member.all():
            return {}
        at = {fpr: NormalDist().inv_cdf(1 - fpr) for fpr in CHECKED}
        others = scores[~member]
        return {f"fpr_at_level_{fpr:g}": Bounded((others > z).mean(), of=len(others)) for fpr, z in at.items()}


def margin(logits: Array, labels: Array) -> Array:
    """Return z_y - max_{j != y} z_j, (n, q) float64: the signal that the paper's regression is of."""
    z = logits.astype(np.float64)
    index = np.broadcast_to(labels[:, None, None], (*z.shape[:2], 1))
    own = np.take_along_axis(z, index, axis=-1)[..., 0]
    np.put_along_axis(z, index, -np.inf, axis=-1)
    return np.asarray(own - z.max(axis=-1))


class Features:
    """What quantiles may depend on: leading principal components of inputs, and labels; fitted on some examples.

    Each has mean 0 and (components) variance 1 there; one that does not vary is left out.
    """

    def __init__(self, x: Array, y: Array, classes: int, components: int, seed: int) -> None:
        flat = _flat(x)
        self._classes, self._mean, sd = classes, flat.mean(axis=0), flat.std(axis=0)
        self._directions = np.empty((flat.shape[1], 0))
        varying = np.flatnonzero(sd > 0)
        count = min(components, len(varying), len(flat) - 1)
        if count:
            from sklearn.decomposition import PCA

            fitted = PCA(count, random_state=seed).fit((flat[:, varying] - self._mean[varying]) / sd[varying])
            spread = np.sqrt(fitted.explained_variance_)
            kept = spread > spread[0] * 1e-6
            self._directions = np.zeros((flat.shape[1], int(kept.sum())))
            self._directions[varying] = (fitted.components_[kept] / spread[kept, None]).T / sd[varying, None]
        self._shares = np.bincount(y, minlength=classes) / len(y)

    def __call__(self, x: Array, y: Array) -> Array:
        """Return (n, features) float64."""
        labels = (np.eye(self._classes)[y] - self._shares)[:, (self._shares > 0) & (self._shares < 1)]
        return np.concatenate([(_flat(x) - self._mean) @ self._directions, labels], axis=1)


def _flat(x: Array) -> Array:
    """Return inputs as rows of float64, images from 0 to 1."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    return flat / 255 if x.dtype == np.uint8 else flat
