"""ART's learned attack: a classifier of members, trained on the predictions of shadow models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Evidence, Needs, component, option
from privbench.errors import CellFailed
from privbench.stats import signals

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


@component
class ArtBlackBox:
    """ART's MembershipInferenceBlackBox, fitted on the predictions of shadow models, whose members are known.

    Its score is the probability of membership by ART's attack model, given the target's predictions. Difference from
    Shokri et al., as in ART: one attack model for all classes, with the label as an input. At most `rows` of the
    shadows' predictions are used, equally many of members and non-members, because ART's models are slow with more.
    """

    name: ClassVar[str] = "art-black-box"
    paper: ClassVar[str] = (
        "Shokri, Stronati, Song, Shmatikov: Membership Inference Attacks Against Machine Learning Models, S&P 2017 "
        "(1610.05820), as the Adversarial Robustness Toolbox has it (1807.01069)"
    )
    threshold: ClassVar[float] = 0.5

    model: Literal["rf", "gb", "lr", "dt", "knn", "nn"] = option(
        "rf", "attack model: random forest, gradient boosting, logistic regression, tree, neighbours, neural net"
    )
    answers: Literal["probabilities", "logits", "loss"] = option(
        "probabilities", "part of each prediction that it receives"
    )
    rows: int = option(4000, "maximum number of shadow predictions that it is fitted on", ge=2)
    epochs: int = option(20, "nn: epochs (ART's default is 100)", ge=1)
    lr: float = option(1e-3, "nn: learning rate (ART's default is 1e-4)", gt=0)
    shadows: Literal["adaptive", "undefended"] = option(
        "adaptive", "shadows trained with the target's whole defense, or without any"
    )

    @property
    def needs(self) -> Needs:
        """Logits, and shadow models; no inputs."""
        return Needs(shadows=self.shadows)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64: the probability of membership. Raises CellFailed without shadows."""
        from privbench_art.bridge import lent_generators

        if not len(evidence.shadow_logits):
            raise CellFailed("art-black-box is fitted on shadow models, but there are none: use at least 4 models.")
        inside, outside = self._fitted_on(evidence)
        logits = np.asarray(evidence.logits[:, 0])
        with lent_generators(int(evidence.rng("art").integers(2**62))):
            return self.infer(inside, outside, (logits, evidence.labels), evidence.classes)

    def infer(self, inside: tuple[Array, Array], outside: tuple[Array, Array], asked: Any, classes: int) -> Array:
        """Return what ART says of `asked`, having seen `inside` and `outside`; each is logits (m, c) and labels (m,).

        It draws from NumPy's and torch's global generators.
        """
        from art.attacks.inference.membership_inference import MembershipInferenceBlackBox

        from privbench_art.bridge import answered

        target = answered(np.empty((0, classes)), classes)
        target.compute_loss_from_predictions = lambda pred, y: -signals.log_confidence(pred[:, None], y.argmax(1))[:, 0]
        attack = MembershipInferenceBlackBox(
            target,
            input_type="loss" if self.answers == "loss" else "prediction",
            attack_model_type=self.model,
            nn_model_epochs=self.epochs,
            nn_model_learning_rate=self.lr,
        )
        (pred, y), (test_pred, test_y) = ((self._features(logits), labels) for logits, labels in (inside, outside))
        attack.fit(None, y, None, test_y, pred=pred, test_pred=test_pred)
        logits, labels = asked
        found = np.asarray(attack.infer(None, labels, pred=self._features(logits), probabilities=True))
        return found[:, -1].astype(np.float64)

    def _features(self, logits: Array) -> Array:
        """Return what ART is given of answers: logits as they are (of which it computes the loss), or softmax."""
        if self.answers != "probabilities":
            return logits
        from scipy.special import softmax

        return np.asarray(softmax(logits.astype(np.float64), axis=-1))

    def _fitted_on(self, evidence: Evidence) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return the logits and labels of shadows' members, and of others; in an order that is that of the content.

        So the scores do not depend on the order in which shadows and examples are listed, which means nothing.
        """
        member, labels = evidence.shadow_member, evidence.labels
        rng, sides = evidence.rng("rows"), []
        logits = np.stack([np.asarray(each[:, 0]) for each in evidence.shadow_logits])
        for side in (member, ~member):
            shadow, example = np.nonzero(side)
            found, label = logits[shadow, example], labels[example]
            order = np.lexsort((*found.T, label))
            chosen = order[np.sort(rng.permutation(len(order))[: max(1, self.rows // 2)])]
            sides.append((found[chosen], label[chosen]))
        return sides[0], sides[1]
