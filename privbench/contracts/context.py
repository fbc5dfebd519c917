"""Context of a defense: a device, seeds, progress, and intermediate results in the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from privbench import seeds
from privbench.options.fields import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    import torch

    from privbench.aliases import Array
    from privbench.data.dataset import Examples

Make: TypeAlias = "Callable[[Context], dict[str, Array]]"
Keep: TypeAlias = "Callable[[str, Mapping[str, Any], Make, Context], dict[str, Array]]"

KEPT = "kept"


def _keep_nothing(_name: str, _key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Array]:
    return make(inner)


def _no_progress(_done: float, _stage: str) -> None:
    return None


@dataclass(frozen=True)
class Context:
    """The resources of a defense while it makes one release."""

    seed: int = 0
    device: str = "cpu"
    reference: Examples | None = None
    """Examples outside the pool, also known to the attacker: for calibration, never to train a released model."""
    validation: Examples | None = None
    """The defender's examples outside the pool: for model selection, and as public or auxiliary data. The test examples
    are never provided."""
    purpose: tuple[object, ...] = ()
    share: tuple[float, float] = (0.0, 1.0)
    """Start and end of this stage within the whole, for the progress bar."""
    keep: Keep = field(default=_keep_nothing, compare=False)
    report: Callable[[float, str], None] = field(default=_no_progress, compare=False)

    def rng(self, name: str) -> np.random.Generator:
        """Return a NumPy generator for one purpose."""
        return seeds.numpy_generator(self.seed, *self.purpose, name)

    def generator(self, name: str) -> torch.Generator:
        """Return a torch CPU generator for one purpose; move its draws to the device."""
        return seeds.torch_generator(self.seed, *self.purpose, name)

    def seeded(self, name: str) -> AbstractContextManager[None]:
        """Seed torch's global generators inside a block, for initialisers and dropout, and restore them after it."""
        return seeds.seeded(self.seed, *self.purpose, name, device=self.device)

    def progress(self, done: float, stage: str = "") -> None:
        """Report the completed fraction of this stage, in [0, 1]; `stage` is more specific than the stage's name."""
        start, end = self.share
        names = [str(part).partition(".")[2] or str(part) for part in self.purpose if part != KEPT]
        self.report(start + (end - start) * done, stage or " ".join(names))

    def stage(self, name: str, position: int = 0, share: tuple[float, float] = (0.0, 1.0)) -> Context:
        """Return the same context for one of several stages, with seeds of its own.

        share: start and end of the stage within this one's progress
        """
        return replace(self, purpose=(*self.purpose, f"{position}.{name}"), share=self._part(share))

    def part(self, share: tuple[float, float]) -> Context:
        """Return the same context, seeds included, for a part of the work; share: as in `stage`."""
        return replace(self, share=self._part(share))

    def kept(
        self,
        name: str,
        examples: Examples,
        options: Mapping[str, Any],
        make: Callable[[Context], dict[str, Array]],
        *,
        model_free: bool = False,
        share: tuple[float, float] = (0.0, 1.0),
    ) -> dict[str, Array]:
        """Return the arrays `make(context)` computed from examples, from the store if present.

        The context for `make` is seeded by the release's seed and `name` alone, not by the stage: defenses with the
        same intermediate result share it, such as the GAN of `fake-data` and `transform`. The key covers the name, the
        content of the examples, the options (give all that determine the result), the seed, the device, the source of
        `make` and, unless `model_free`, the task with its model and recipe; set `model_free` only if `make` uses
        neither. share: see `stage`
        """
        inner = replace(self, purpose=(KEPT, name), share=self._part(share))
        if model_free:  # so that it cannot depend on data outside the key
            inner = replace(inner, reference=None, validation=None)
        key = {
            "inputs": examples.fingerprint,
            "options": {k: plain(v) for k, v in options.items()},
            "model_free": model_free,
        }
        arrays = self.keep(name, key, make, inner)
        inner.progress(1.0)
        return arrays

    def _part(self, share: tuple[float, float]) -> tuple[float, float]:
        start, end = self.share
        return (start + (end - start) * share[0], start + (end - start) * share[1])
