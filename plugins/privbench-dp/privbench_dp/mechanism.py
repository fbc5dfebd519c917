"""Poisson-sampled Gaussian mechanism in its three parts: a sample, a sum of bounded terms, and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


def clipped_sum(gradients: list[Tensor], clip: float, counts: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """Return the sum over examples of their gradients, each scaled down to norm `clip` where it is longer.

    gradients: (b, size) for each parameter; counts: (b,), 0 for what fills up a batch and is no part of the sum, else
    1. Returns (size,) for each parameter, and the norms (b,) as they were, over all parameters together, for they
    belong to one example.
    """
    norms = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (clip / norms).clamp(max=1)  # a norm of 0 makes inf, which is clamped too
    factors = factors if counts is None else factors * counts
    return [factors @ gradient for gradient in gradients], norms


def poisson_sample(n: int, rate: float, generator: torch.Generator) -> Tensor:
    """Return the rows (b,) int64 of a sample in which each of n examples is with probability `rate`, on its own."""
    return (torch.rand(n, dtype=torch.float64, generator=generator) < rate).nonzero()[:, 0]


def draw_noise(parameters: list[nn.Parameter], deviation: float, generator: torch.Generator) -> list[Tensor]:
    """Return Gaussian noise for each parameter, flat; drawn where the generator is, and so the parameters."""
    sizes = [parameter.numel() for parameter in parameters]
    drawn = torch.randn(sum(sizes), generator=generator, device=generator.device).mul_(deviation)
    return list(drawn.split_with_sizes(sizes))
