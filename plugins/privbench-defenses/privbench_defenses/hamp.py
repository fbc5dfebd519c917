"""HAMP: training for low confidence, then predictions with another input's confidences (Chen & Pattabiraman 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.api import Blueprint, Context, Examples

HALVINGS = 60


@component
class Hamp:
    """HAMP: training with soft labels of high entropy and an entropy reward; predictions with random confidences.

    Only the order of the classes is from the query: its confidences are those of an input of random pixels, sorted into
    that order. The random input is a function of the query's bits and a secret of the release, so that the same query
    has the same answer; the authors draw another one for every query. Equal confidences are separated by a unit in the
    last place, the first class first, so that the filter changes no label. A table's random row is uniform per feature,
    with the mean and spread of the training examples, which a released model's standardisation reveals anyway.

    The entropy's weight is relative to a Kullback-Leibler divergence averaged over examples. The authors' code also
    averages it over classes: their alpha is this one divided by the number of classes, 0.005 for CIFAR-100's 0.5, and
    their learning rate of 1 is the recipe's times the number of classes. They search the soft label on a grid of 0.01
    and create a new optimiser every epoch; here the label's confidence is exact, and momentum is kept.
    """

    name: ClassVar[str] = "hamp"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = (
        "Chen & Pattabiraman, Overconfidence is a Dangerous Thing: Mitigating Membership Inference Attacks by "
        "Enforcing Less Confident Prediction, NDSS 2024, arXiv 2307.01610; code DependableSystemsLab/MIA_defense_HAMP"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper_cifar100": {"gamma": 0.5, "alpha": 0.5}}

    gamma: float = option(0.5, "minimum entropy of a soft label, as a share of the maximum, log(classes)", ge=0, lt=1)
    alpha: float = option(0.5, "weight of the entropy of the predictions (the authors' times the classes)", ge=0)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train with the soft labels. Raises Diverged.

        Facts, of the model behind the filter: `train_loss`, its mean cross-entropy; `label_confidence`, what a soft
        label gives the true class.
        """
        import torch

        from privbench.learn import mean_loss, train

        confidence = label_confidence(task.classes, self.gamma)
        others = (1 - confidence) / (task.classes - 1)
        soft = torch.full((len(examples), task.classes), others, dtype=torch.float64)
        soft[torch.arange(len(examples)), torch.tensor(examples.y)] = confidence

        def loss(logits: Tensor, targets: Tensor, _epoch: int) -> Tensor:
            return high_entropy_loss(logits, targets, alpha=self.alpha)

        model = train(task, examples, ctx, loss=loss, targets=soft, phase=lambda _: None)
        facts = {"train_loss": mean_loss(model, examples, device=ctx.device), "label_confidence": confidence}
        return Release(model, facts=facts)

    def filter(self, task: Blueprint, model: nn.Module, examples: Examples, ctx: Context) -> nn.Module:
        """Return the model behind the filter, with a secret of its own."""
        from privbench_defenses.per_input import secret

        released = self.filtered(task, model)
        released.choose(secret(ctx), examples.x)
        return released.to(ctx.device).eval()

    def filtered(self, task: Blueprint, model: nn.Module) -> Any:
        """Return the same around a model without weights."""
        from privbench_defenses.random_confidences import RandomConfidences

        return RandomConfidences(model, task.shape)


def label_confidence(classes: int, gamma: float) -> float:
    """Return the largest q with H(q, (1-q)/(classes-1), ...) >= gamma log(classes) (Chen & Pattabiraman, section IV-A).

    H falls from log(classes) at q = 1/classes to 0 at q = 1, so halving finds it.
    """
    if gamma == 0:
        return 1.0
    low, high = 1 / classes, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if label_entropy(classes, middle) >= gamma * math.log(classes):
            low = middle
        else:
            high = middle
    return low


def label_entropy(classes: int, confidence: float) -> float:
    """Return the entropy, in nats, of `confidence` for one class and the rest for the others alike."""
    rest = 1 - confidence
    parts = [(confidence, confidence), (rest, rest / (classes - 1))]
    return -sum(weight * math.log(p) for weight, p in parts if weight > 0)


def high_entropy_loss(logits: Tensor, targets: Tensor, *, alpha: float) -> Tensor:
    """Return the mean over examples of KL(t || p) - alpha H(p), from logits and soft labels t (b, classes)."""
    from torch.nn import functional

    log_p = functional.log_softmax(logits, dim=1)
    divergence = (targets.xlogy(targets) - targets * log_p).sum(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return (divergence - alpha * entropy).mean()
