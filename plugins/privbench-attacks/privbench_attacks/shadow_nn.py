"""Shadow-model networks: classifiers of members, trained on the predictions of shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import ShadowOptions, component, option
from privbench.errors import CellFailed
from privbench.stats import signals

if TYPE_CHECKING:
    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]


@component
class ShadowNN(ShadowOptions):
    """The log-odds of "member" from small networks trained on the shadows' predictions, whose members are known.

    As in Shokri et al. there is a network for each class, with one hidden layer of 64 units, on all probabilities of
    one prediction; `nets=joint` is one network for all, with the label as an input. Differences: the inputs are the
    logits of the probabilities, the label's first and then all of them in descending order, since log p itself loses
    the differences between the most certain predictions; `order=classes` keeps the order of the classes. Weights are
    those of the epoch with the lowest loss on a fifth of the shadows' predictions. Shadows are the population's:
    trained on halves of the attacked pool, not on data of the attacker, and each example is as often in as out. Scores
    are log-odds rather than probabilities, which would tie at 1; a probability of 1/2 is a score of 0.
    """

    name: ClassVar[str] = "shadow-nn"
    paper: ClassVar[str] = (
        "Shokri, Stronati, Song, Shmatikov: Membership Inference Attacks against Machine Learning Models, "
        "IEEE S&P 2017 (1610.05820)"
    )
    threshold: ClassVar[float] = 0.0

    nets: Literal["class", "joint"] = option("class", "one network per class; one for all, with the label as input")
    order: Literal["sorted", "classes"] = option(
        "sorted", "probabilities in descending order, or in the order of the classes"
    )
    top: int = option(10, "with order=sorted: number of the largest probabilities that a network sees", ge=1)
    hidden: int = option(64, "units of a network's hidden layer", ge=1)
    epochs: int = option(30, "epochs on the shadows' predictions", ge=1)
    rows: int = option(20_000, "maximum number of shadow predictions to learn from, over all shadows", ge=100)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member. Raises CellFailed without shadows."""
        from privbench_attacks.small_nets import Known, log_odds

        labels, rng = evidence.labels, evidence.rng("shadow-nn")
        shadows = len(evidence.shadow_logits)
        if not shadows:
            raise CellFailed("shadow-nn needs shadow models, but there are none: use at least 4 models (--models 4).")
        each = min(len(labels), max(1, self.rows // shadows))
        known, of, member = [], [], []
        for logits, inside in zip(evidence.shadow_logits, evidence.shadow_member, strict=True):
            chosen = np.arange(len(labels)) if each == len(labels) else rng.permutation(len(labels))[:each]
            known.append(self.features(logits[chosen, 0], labels[chosen], evidence.classes))
            of.append(labels[chosen])
            member.append(inside[chosen])
        group, asked_group = np.concatenate(of), labels
        if self.nets == "joint":
            group, asked_group = np.zeros_like(group), np.zeros_like(labels)
        asked = self.features(evidence.logits[:, 0], labels, evidence.classes)
        rows = Known(np.concatenate(known), group, np.concatenate(member))
        return log_odds(rows, asked, asked_group, rng=rng, hidden=(self.hidden,), epochs=self.epochs)

    def features(self, logits: Array, labels: Array, classes: int) -> Array:
        """Return what a net sees of answers (m, c): (m, d) float64."""
        own, each = logit_scale(logits, labels)
        if self.order == "sorted":
            each = -np.sort(-each, axis=1)[:, : self.top]
        told = [np.eye(classes)[labels]] if self.nets == "joint" else []
        return np.concatenate([own[:, None], each, *told], axis=1)


def logit_scale(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return log(p / (1 - p)) of each answer's label, (m,), and of all its classes, (m, c); float64, finite.

    logits: (m, c) float32; labels: (m,) int64.
    """
    top = logits.argmax(axis=1)
    z = logits.astype(np.float64) - logits[np.arange(len(logits)), top, None]
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    each = log_p.copy()
    # Only the likeliest class can have p > 1/2; for the others log1p(-p) loses nothing.
    below = np.arange(logits.shape[1]) != top[:, None]
    each[below] -= np.log1p(-np.exp(log_p[below]))
    each[~below] = signals.phi(logits[:, None], top)[:, 0]
    return signals.phi(logits[:, None], labels)[:, 0], each
