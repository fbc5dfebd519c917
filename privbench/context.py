"""The context lent to a defense: a device, seeds of its own, progress, and inner artifacts kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench import seeds

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

    from privbench.data import Examples

Array: TypeAlias = npt.NDArray[Any]
Keep: TypeAlias = Callable[[str, Mapping[str, Any], Callable[[], dict[str, Array]]], dict[str, Array]]


def _keep_nothing(_name: str, _key: Mapping[str, Any], make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    return make()


def _no_progress(_done: float, _stage: str) -> None:
    return None


@dataclass(frozen=True)
class Context:
    """What a defense is lent while it makes one release."""

    seed: int = 0
    device: str = "cpu"
    reference: Examples | None = None
    """Examples outside the pool, for calibration."""
    validation: Examples | None = None
    """Examples outside the pool, for model selection; the test examples are never lent."""
    purpose: tuple[object, ...] = ()
    keep: Keep = field(default=_keep_nothing, compare=False)
    report: Callable[[float, str], None] = field(default=_no_progress, compare=False)

    def rng(self, name: str) -> np.random.Generator:
        """Return a NumPy generator for one purpose."""
        return seeds.numpy_generator(self.seed, *self.purpose, name)

    def generator(self, name: str) -> torch.Generator:
        """Return a torch CPU generator for one purpose; move what it draws to the device."""
        return seeds.torch_generator(self.seed, *self.purpose, name)

    def seeded(self, name: str) -> AbstractContextManager[None]:
        """Seed torch's global generators inside a block, for initialisers and dropout, and restore them after it."""
        return seeds.seeded(self.seed, *self.purpose, name, device=self.device)

    def progress(self, done: float, stage: str = "") -> None:
        """Report the fraction of this stage that is done, in [0, 1]."""
        self.report(done, stage or "/".join(str(part) for part in self.purpose))

    def stage(self, name: str, position: int = 0) -> Context:
        """Return the same context for one stage of several, with seeds of its own."""
        return replace(self, purpose=(*self.purpose, f"{position}.{name}"))

    def kept(self, name: str, key: Mapping[str, Any], make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """Return arrays that `make` computes, from the store where it holds them already.

        The store adds to `key` what else shapes the result (the members, the task, this context's seed, device and
        the code), so give only the options: a GAN trained for `fake-data` then serves `transform` too.
        """
        return self.keep(name, key, make)
