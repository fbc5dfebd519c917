"""ART's rule-based attack: an example is a member if the target classifies it correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import Evidence, Needs, component

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


@component
class ArtRuleBased:
    """ART's MembershipInferenceBlackBoxRuleBased: 1 if the target predicts the label, else 0.

    The same scores as `correctness`, computed by ART. ART gets the target's labels as one-hot predictions, and row
    numbers instead of inputs, so that it cannot use withheld evidence.
    """

    name: ClassVar[str] = "art-rule-based"
    paper: ClassVar[str] = "Yeom, Giacomelli, Fredrikson, Jha: Privacy Risk in Machine Learning, CSF 2018 (1709.01604)"
    needs: ClassVar[Needs] = Needs(answers="labels")
    threshold: ClassVar[float] = 0.5

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64, 0 or 1."""
        from art.attacks.inference.membership_inference import MembershipInferenceBlackBoxRuleBased

        from privbench_art.bridge import answered, rows

        one_hot = np.eye(evidence.classes)
        target = answered(one_hot[evidence.predictions[:, 0]], evidence.classes)
        # Labels are handed over one-hot: ART takes the number of classes from those that occur.
        found = MembershipInferenceBlackBoxRuleBased(target).infer(rows(len(evidence.labels)), one_hot[evidence.labels])
        return np.asarray(found, dtype=np.float64)
