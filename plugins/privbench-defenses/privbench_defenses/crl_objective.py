"""What CRL minimises, with the centres that it learns beside the model."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

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
    """An objective for `privbench.training.train`: both losses of a batch.

    The centres have an optimiser of their own. It steps at the start of the next batch, when the gradient of this one
    is there, which is as if it stepped right after it.
    """

    def __init__(self, options: CRL, task: Blueprint, ctx: Context) -> None:
        self.options, self.recipe, self.classes = options, task.recipe, task.classes
        self.features, self.generator = Penultimate(), ctx.generator("centres")
        self.centers: Tensor | None = None
        self.optimiser: torch.optim.Optimizer | None = None
        self.epoch, self.batches, self.total = -1, 0, torch.zeros(())

    @property
    def distance(self) -> float:
        """The mean over the batches of the last epoch of half the mean squared distance to the centre."""
        return float(self.total) / max(1, self.batches)

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """Return the loss of one batch."""
        options, relaxed = self.options, epoch % 2 == (self.options.relaxed_epochs == "odd")
        logits, features = (each.float() for each in self.features(model, inputs))
        with full_precision(inputs.device):
            centers = self.step(features)
            # A product with one-hot rows: the gradient of an index adds up in no fixed order on a GPU.
            own = functional.one_hot(labels, self.classes).float() @ centers
            confidence = confidences(logits, labels, options.upper, detach=options.detach_targets)
            first = relaxed_loss(logits, labels, confidence, relaxed=relaxed, alpha=options.alpha, t=options.t)
            confidence = confidences(logits, labels, options.upper_center, detach=options.detach_targets)
            second, distance = center_loss(
                features, own, confidence, relaxed=relaxed, alpha=options.alpha_center, t=options.t_center
            )
            self.count(distance.detach(), epoch)
            return first + options.weight * second

    def step(self, features: Tensor) -> Tensor:
        """Move the centres by the gradient of the batch before, and return them, (classes, width)."""
        if self.centers is None or self.optimiser is None:
            drawn = torch.randn(self.classes, features.shape[1], generator=self.generator)
            self.centers = drawn.to(features.device).requires_grad_()
            self.optimiser = torch.optim.SGD(
                [self.centers],
                lr=self.options.lr_center,
                momentum=self.recipe.momentum,
                weight_decay=self.recipe.weight_decay,
            )
        else:
            self.optimiser.step()
            self.centers.grad = None
        return self.centers

    def count(self, distance: Tensor, epoch: int) -> None:
        """Add a batch's distance to its epoch's."""
        if epoch != self.epoch:
            self.epoch, self.batches, self.total = epoch, 0, torch.zeros_like(distance)
        self.batches, self.total = self.batches + 1, self.total + distance
