"""Evaluation classifier: an independent judge of reconstructed images.

Its architecture differs from the task's, so that images that fool one model need not fool it, and it is trained on all
examples except those of the test role, so that it knows the classes better than any target. No attack sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from privbench.contracts.context import Context
from privbench.data.dataset import concatenate
from privbench.learn import cnn, mlp
from privbench.learn.inference import classifier, predict
from privbench.learn.training import train
from privbench.learn.transfers import arrays_of, load_arrays
from privbench.population.keeper import Keeper
from privbench.stats import intervals

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.contracts.task import Blueprint
    from privbench.population.population import Population
    from privbench.stats.intervals import Estimate

HIDDEN = (256, 128)
"""Hidden layer sizes of an evaluation classifier that is an MLP."""


@dataclass(frozen=True)
class Evaluator:
    """A trained evaluation classifier."""

    architecture: str
    model: nn.Module
    accuracy: Estimate
    """Accuracy on the test examples."""
    device: str

    def logits(self, x: Array) -> Array:
        """Return (n, classes) float32 of images (n, height, width, channels)."""
        return predict(self.model, x, device=self.device)

    def features(self, x: Array) -> Array:
        """Return (n, d) float32: the input of the last linear layer."""
        return predict(_Features(self.model), x, device=self.device)


def of(population: Population) -> Evaluator:
    """Return the evaluation classifier of a population's task, from the store or trained with the task's recipe.

    It depends on task, data, seed and device, not on the defense. Raises Diverged if its training does.
    """
    dataset = population.dataset
    ctx = Context(seed=population.seed, device=population.device, keep=Keeper.of(population))
    with ctx.seeded("evaluator"):  # building networks uses the global generator
        task, architecture = other(population.blueprint)
        empty = classifier(task)
    examples = concatenate(*(dataset.role(role) for role in ("pool", "reference", "validation")))

    def make(ctx: Context) -> dict[str, Array]:
        return arrays_of(train(task, examples, ctx))

    arrays = ctx.kept("evaluator", examples, {"architecture": architecture}, make)
    model = load_arrays(empty, arrays).to(population.device)
    test = dataset.role("test")
    right = predict(model, test.x, device=population.device).argmax(axis=1) == test.y
    return Evaluator(architecture, model, intervals.accuracy(right[np.newaxis]), population.device)


def other(task: Blueprint) -> tuple[Blueprint, str]:
    """Return the task with a different architecture, and a description of it.

    If the task's model has convolutions it is an MLP; otherwise the small CNN, or an MLP for too small images.
    """
    convolves = any(isinstance(module, nn.Conv2d) for module in task.model().modules())
    if convolves or min(task.shape[1:]) < cnn.SMALLEST:
        words = f"mlp {'-'.join(map(str, HIDDEN))}"
        return replace(task, build=lambda: mlp.build(task.shape, task.classes, HIDDEN)), words
    return replace(task, build=lambda: cnn.build(task.shape, task.classes)), "cnn"


class _Features(nn.Module):
    """A classifier that returns the input of its last linear layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
        """A list, because a module in an attribute would be registered a second time."""

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to features (batch, d)."""
        caught: list[Tensor] = []
        handle = self.last[0].register_forward_pre_hook(lambda _module, given: caught.append(given[0]))
        try:
            self.model(x)
        finally:
            handle.remove()
        return caught[0].flatten(1)
