"""Confidence penalty: cross-entropy minus weighted entropy of the prediction (Pereyra et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Blueprint, Context, Examples


@component
class ConfidencePenalty:
    """Confidence penalty: cross-entropy minus weight times the entropy of the prediction.

    As in the paper, without its variants (an annealed weight, a hinge on the entropy); weight 0.1 is the best of theirs
    on images, and that of the RelaxLoss authors' baseline. A weight above 1 rewards uniform predictions more than
    right ones.
    """

    name: ClassVar[str] = "confidence-penalty"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = (
        "Pereyra et al., Regularizing Neural Networks by Penalizing Confident Output Distributions, "
        "ICLR workshop 2017, arXiv 1701.06548; as a defense in code DingfanChen/RelaxLoss"
    )

    weight: float = option(0.1, "weight of the entropy, in nats", ge=0)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train by the task's recipe. The fact `train_loss` is the final mean cross-entropy. Raises Diverged."""
        from privbench.learn import mean_loss, train

        def loss(logits: Tensor, labels: Tensor, _epoch: int) -> Tensor:
            return penalised_loss(logits, labels, self.weight)

        model = train(task, examples, ctx, loss=loss, phase=lambda _: None)
        return Release(model, facts={"train_loss": mean_loss(model, examples, device=ctx.device)})


def penalised_loss(logits: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Return the mean of -log p_y - weight * H(p) over logits (b, classes) and labels (b,) int64."""
    from torch.nn import functional

    log_p = functional.log_softmax(logits, dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
    return functional.nll_loss(log_p, labels) - weight * entropy
