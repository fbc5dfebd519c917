"""Stand-ins for missing data: noise of the same shape, to time training in a dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.builtin.tasks.downloads import DownloadedTask, Extent
from privbench.data import Part, Source
from privbench.errors import DataError
from privbench.options import Composite

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from privbench.api import Dataset, Recipe

DISTINCT = 256
"""Number of noise images, which are repeated."""


@dataclass(frozen=True)
class StandIn(Composite):
    """A task with noise instead of its missing data; never registered, and nothing of it is stored."""

    task: DownloadedTask
    extent: Extent

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task.name

    @property
    def parts(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The task."""
        return (self.task,)

    @property
    def named(self) -> tuple[Any, ...]:
        """The task."""
        return (self.task,)

    def cache_key(self, key_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002 - it is never stored
        """Return a key that no stored artifact has."""
        return {"stands in": True}

    @property
    def recipe(self) -> Recipe:
        """The recipe of the task."""
        return self.task.recipe

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the task's model."""
        return self.task.network(shape, classes)

    def load(self) -> Dataset:
        """Return noise with the task's roles."""
        extent = self.extent
        noise = seeds.numpy_generator(0, "stand-in").integers(0, 256, (DISTINCT, *extent.shape), dtype=np.uint8)

        def part(count: int) -> Part:
            return Part(np.resize(noise, (count, *extent.shape)), np.arange(count) % extent.classes)

        return self.task.assemble(Source(part(extent.train), part(extent.test), extent.classes, self.name))


def with_stand_ins(tasks: list[Any]) -> tuple[list[Any], list[str]]:
    """Return tasks with noise for missing data of known size, and a sentence for each as the reason."""
    replaced, reasons = [], []
    for task in tasks:
        replaced.append(task)
        if not isinstance(task, DownloadedTask) or task.extent is None:
            continue
        try:
            task.folder()
        except DataError as error:
            reasons.append(f"{str(error).rstrip('.')}. Until then, times are those of noise of the same shape.")
            replaced[-1] = StandIn(task, task.extent)
    return replaced, reasons
