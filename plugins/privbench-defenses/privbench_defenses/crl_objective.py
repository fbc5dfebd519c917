"""Objective of CRL, with trainable class centres."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from privbench_defenses.crl import center_loss, confidences, relaxed_loss
from privbench_defenses.features import Penultimate

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.api import Blueprint, Context
    from privbench_defenses.crl import CRL


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the recipe's reduced precision, if any, is off."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    off: contextlib.AbstractContextManager[Any] = torch.autocast(device.type, enabled=False)
    return off


class Objective:
    """An objective for `privbench.learn.training.train`: both losses of a batch.

    The centres have an optimiser of their own, which steps as soon as their gradient is there.
    """

    def __init__(self, options: CRL, task: Blueprint, ctx: Context) -> None:
        self.options, self.recipe, self.classes = options, task.recipe, task.classes
        self.features, self.generator = Penultimate(), ctx.generator("centres")
        self.centers: Tensor | None = None
        self.total, self.batches = torch.zeros((), device=ctx.device), torch.zeros((), device=ctx.device)
        self.distance = 0.0
        """The mean over the batches of the last epoch of half the mean squared distance to the centre."""

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """Return the loss of one batch."""
        options, relaxed = self.options, epoch % 2 == (self.options.relaxed_epochs == "odd")
        logits, features = (each.float() for each in self.features(model, inputs))
        with full_precision(inputs.device):
            if self.centers is None:
                self.centers = self.drawn(features)
            # A product with one-hot rows: the gradient of an index adds up in no fixed order on a GPU.
            own = (labels[:, None] == torch.arange(self.classes, device=labels.device)).float() @ self.centers
            confidence = confidences(logits, labels, options.upper, detach=options.detach_targets)
            first = relaxed_loss(logits, labels, confidence, relaxed=relaxed, alpha=options.alpha, t=options.t)
            confidence = confidences(logits, labels, options.upper_center, detach=options.detach_targets)
            second, distance = center_loss(
                features, own, confidence, relaxed=relaxed, alpha=options.alpha_center, t=options.t_center
            )
            self.total.add_(distance.detach())
            self.batches.add_(1)
            return first + options.weight * second

    def drawn(self, features: Tensor) -> Tensor:
        """Return fresh centres (classes, width) for features (b, width)."""
        normal = torch.randn(self.classes, features.shape[1], generator=self.generator)
        centers = normal.to(features.device).requires_grad_()
        optimiser = torch.optim.SGD(
            [centers], lr=self.options.lr_center, momentum=self.recipe.momentum, weight_decay=self.recipe.weight_decay
        )

        def learn(_centers: Tensor) -> None:
            optimiser.step()
            centers.grad = None

        centers.register_post_accumulate_grad_hook(learn)
        return centers

    def ended(self, _model: nn.Module, _epoch: int) -> bool:
        """Take note of the mean distance of an epoch that is over; go on."""
        self.distance = float(self.total) / float(self.batches)
        self.total.zero_()
        self.batches.zero_()
        return False
