"""Layers that draw random numbers in training, from a generator that the training lends them.

torch's own draw from a generator that is global to the process: what one of several trainings drew would depend on what
the others did, and a card could not replay its steps.
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
    """Of the device; None: torch's global one."""


class _Dropping(Drawing):
    """A layer that zeroes something in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """Return the probability, for `print(net)`."""
        return f"p={self.p}"

    def keep(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return x with parts, of a shape that is broadcast, zeroed with probability p, and the others scaled up."""
        kept = torch.rand(shape, device=x.device, generator=self.generator) >= self.p
        return x * kept.to(x.dtype).div(1 - self.p)


class Dropout(_Dropping):
    """Dropout: each number is zeroed with probability p (Srivastava et al. 2014)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, ...) to the same shape."""
        return self.keep(x, tuple(x.shape)) if self.training and self.p else x


class DropPath(_Dropping):
    """Stochastic depth: each example's part of a residual block is zeroed with probability p (Huang et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, ...) to the same shape."""
        return self.keep(x, (len(x), *(1 for _ in x.shape[1:]))) if self.training and self.p else x


@contextlib.contextmanager
def lent(net: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Lend a generator, of the device that the net is on, to the layers of a net that draw."""
    layers = [module for module in net.modules() if isinstance(module, Drawing)]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None
