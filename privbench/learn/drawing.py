"""Layers that draw random numbers in training, from a generator provided by the training.

torch's own layers use a generator that is global to the process: the draws of one of several trainings would depend on
the others, and a card could not replay its steps.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Drawing(nn.Module):
    """A layer that draws random numbers."""

    generator: torch.Generator | None = None
    """A generator on the device; None: torch's global one."""


class _Dropping(Drawing):
    """A layer that zeroes parts of its input in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """Return the probability, for `print(net)`."""
        return f"p={self.p}"

    def keep(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return x with parts, of a broadcast shape, zeroed with probability p, and the others scaled up."""
        kept = torch.rand(shape, device=x.device, generator=self.generator) >= self.p
        return x * kept.to(x.dtype).div(1 - self.p)


class Dropout(_Dropping):
    """Dropout: each element is zeroed with probability p (Srivastava et al. 2014)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, ...) to the same shape."""
        return self.keep(x, tuple(x.shape)) if self.training and self.p else x


class DropPath(_Dropping):
    """Stochastic depth: the residual branch of each example is zeroed with probability p (Huang et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, ...) to the same shape."""
        return self.keep(x, (len(x), *(1 for _ in x.shape[1:]))) if self.training and self.p else x


@contextlib.contextmanager
def lent(net: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Provide a generator, on the network's device, to the layers of a network that draw random numbers."""
    layers = [module for module in net.modules() if isinstance(module, Drawing)]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None
