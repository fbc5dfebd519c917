"""Tasks: a dataset, a model architecture and a training recipe; and the part of it that a defense may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from privbench.contracts.recipe import Recipe
    from privbench.data.dataset import Dataset


@runtime_checkable
class Task(Protocol):
    """A dataset, a model architecture and a training recipe.

    It may declare what its images show, as `depicts`: see `privbench/contracts/abilities.py`.
    """

    name: ClassVar[str]

    @property
    def recipe(self) -> Recipe:
        """How models of this task are trained."""
        ...

    def load(self) -> Dataset:
        """Return the data with its four disjoint roles; the same at every call. Raises DataError."""
        ...

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a fresh model: float32 (batch, *shape), images as (batch, channels, height, width) -> logits."""
        ...


@dataclass(frozen=True)
class Blueprint:
    """What a defense may know of its task: architecture and recipe, but no data beyond its own half of the pool."""

    task: str
    recipe: Recipe
    shape: tuple[int, ...]
    """Shape of one input as the model takes it: (channels, height, width) or (features,)."""
    classes: int
    build: Callable[[], nn.Module]

    def model(self) -> nn.Module:
        """Return a fresh model, initialised from torch's global generator (use it inside `ctx.seeded`)."""
        return self.build()
