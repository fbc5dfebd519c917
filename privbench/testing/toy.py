"""Toy task of a few dozen images, on which a defense is tested in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Blueprint, component, option
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Dataset, Examples
from privbench.seeds import numpy_generator

if TYPE_CHECKING:
    from torch import nn

SIDE = 8


@component
class ToyTask:
    """Random 8 x 8 grey images, each class around an image of its own; an MLP with BatchNorm."""

    name: ClassVar[str] = "toy"

    classes: int = option(3, "number of classes", ge=2, le=6)
    epochs: int = option(2, "passes over the training examples", ge=1)
    pool: int = option(48, "examples in the pool; half as many are the attacker's", ge=12)
    noise: int = option(90, "standard deviation of the pixels about their class's image", ge=1)

    @property
    def recipe(self) -> Recipe:
        """How models of this task are trained."""
        return Recipe(epochs=self.epochs, batch_size=8)

    def load(self) -> Dataset:
        """Return the data; the same at every call."""
        sizes = {"pool": self.pool, "reference": self.pool // 2, "validation": 12, "test": 24}
        rng, n = numpy_generator(0, "toy"), sum(sizes.values())
        y = np.concatenate([np.arange(size, dtype=np.int64) % self.classes for size in sizes.values()])
        centres = rng.uniform(0, 255, (self.classes, SIDE, SIDE, 1))
        x = np.clip(centres[y] + rng.normal(0, self.noise, (n, SIDE, SIDE, 1)), 0, 255).astype(np.uint8)
        rows = np.split(np.arange(n), np.cumsum([*sizes.values()])[:-1])
        return Dataset(Examples(x, y), self.classes, *rows, name="toy")

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a fresh model: float32 (batch, *shape) -> logits."""
        from torch import nn

        features = int(np.prod(shape))
        return nn.Sequential(
            nn.Flatten(), nn.Linear(features, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, classes)
        )


def blueprint(task: ToyTask, dataset: Dataset) -> Blueprint:
    """Return what a defense may know of the task: no data."""
    shape, classes = dataset.shape, dataset.classes
    return Blueprint(task.name, task.recipe, shape, classes, build=lambda: task.network(shape, classes))
