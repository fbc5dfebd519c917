"""Label smoothing: a share of every label is spread over all classes (Szegedy et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Blueprint, Context, Examples


@component
class LabelSmoothing:
    """Label smoothing: cross-entropy with (1 - amount) of a label on its class and the rest spread over all classes.

    As in Szegedy et al., with amount 0.1 and a uniform prior over classes. It was designed for accuracy, not for
    privacy: it pulls members to a narrow level of confidence, which non-members miss on both sides. One threshold for
    all examples cannot use that, and shows less leakage at low false-positive rates; LiRA, with a distribution per
    example, can, and may be far stronger than without label smoothing. Never judge it by a threshold attack, nor by the
    AUC alone.
    """

    name: ClassVar[str] = "label-smoothing"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = "Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016"

    amount: float = option(0.1, "share of each label that is spread over all classes", ge=0, lt=1)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train by the task's recipe. The fact `train_loss` is the final mean cross-entropy with the hard labels.

        Raises Diverged.
        """
        from privbench.learn import mean_loss, train

        def loss(logits: Tensor, labels: Tensor, _epoch: int) -> Tensor:
            return smoothed_loss(logits, labels, self.amount)

        model = train(task, examples, ctx, loss=loss, phase=lambda _: None)
        return Release(model, facts={"train_loss": mean_loss(model, examples, device=ctx.device)})


def smoothed_loss(logits: Tensor, labels: Tensor, amount: float) -> Tensor:
    """Return the mean cross-entropy of logits (b, classes) with t = (1 - amount) onehot(labels) + amount / classes.

    labels: (b,) int64. Where the softmax of the logits is t, the loss is the entropy of t, its least value.
    """
    from torch.nn import functional

    return functional.cross_entropy(logits, labels, label_smoothing=amount)
