"""Spectral normalisation: weights divided by their largest singular values (Miyato et al., ICLR 2018).

One power iteration per forward pass in training; the singular vectors count as constants in the gradient. In small
networks, torch's own parametrisation, layer by layer, takes most of a step; `Stack` normalises all layers at once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

STD = 0.02
"""Standard deviation of initial weights in the TAC-GAN authors' code."""


class _Divided(torch.autograd.Function):
    """weight / sigma, where sigma = left' weight right is the largest singular value, matrix by matrix."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, sigma: Tensor, left: Tensor, right: Tensor) -> Tensor:
        normal = weight / sigma
        ctx.save_for_backward(normal, sigma, left, right)
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        normal, sigma, left, right = ctx.saved_tensors
        inner = (gradients[0] * normal).sum(dim=(1, 2))
        through = torch.baddbmm(gradients[0], (left * inner[:, None])[:, :, None], right[:, None], alpha=-1)
        return through.div_(sigma), None, None, None


class _Spectral(nn.Module):
    """Base of layers with matrices (n, out, in), normalised together, and estimates of their singular vectors."""

    left: Tensor
    right: Tensor

    def start(self, n: int, out: int, inside: int) -> None:
        """Draw the initial estimates."""
        self.register_buffer("left", functional.normalize(torch.randn(n, out), dim=1))
        self.register_buffer("right", functional.normalize(torch.randn(n, inside), dim=1))

    def normal(self, matrices: Tensor) -> Tensor:
        """Return the matrices (n, out, in), each divided by its largest singular value."""
        constant, left, right = matrices.detach(), self.left, self.right
        if self.training:  # into new tensors: a pending backward pass needs the estimates of its own forward pass
            right = torch.bmm(left[:, None], constant)[:, 0]
            right = right / torch.linalg.vector_norm(right, dim=1, keepdim=True)
        product = torch.bmm(constant, right[:, :, None])[:, :, 0]
        if self.training:
            sigma = torch.linalg.vector_norm(product, dim=1, keepdim=True)
            left = product / sigma
            self.left.copy_(left)
            self.right.copy_(right)
        else:
            sigma = (left * product).sum(dim=1, keepdim=True)
        normal: Tensor = _Divided.apply(matrices, sigma[:, :, None], left, right)
        return normal


class Convolution(_Spectral, nn.Conv2d):
    """A convolution that keeps the size of the map, spectrally normalised."""

    def __init__(self, before: int, after: int, kernel: int = 3) -> None:
        super().__init__(before, after, kernel, padding=kernel // 2)
        self.start(1, after, before * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before, side, side) to (batch, after, side, side)."""
        weight = self.normal(self.weight.flatten(1)[None]).view_as(self.weight)
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


class Linear(_Spectral, nn.Linear):
    """A linear map, spectrally normalised."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after)
        self.start(1, after, before)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before) to (batch, after)."""
        return functional.linear(x, self.normal(self.weight[None])[0], self.bias)


class Stack(_Spectral):
    """Several linear maps, each spectrally normalised, computed together.

    Their weights are in one tensor, the smaller ones padded with zeros below and to the right, which stay zero: no
    output depends on them, and they do not affect a singular vector.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Take (before, after) of each map."""
        super().__init__()
        self.shapes = tuple(shapes)
        out, inside = max(after for _, after in shapes), max(before for before, _ in shapes)
        self.weight = nn.Parameter(torch.zeros(len(shapes), out, inside))
        self.bias = nn.Parameter(torch.zeros(sum(after for _, after in shapes)))
        with torch.no_grad():
            for matrix, (before, after) in zip(self.weight, shapes, strict=True):
                matrix[:after, :before].normal_(std=STD)
        self.start(len(shapes), out, inside)

    def forward(self) -> list[tuple[Tensor, Tensor]]:
        """Return the normalised weight (after, before) and the bias (after,) of each map."""
        matrices = self.normal(self.weight).unbind()
        biases = self.bias.split([after for _, after in self.shapes])
        return [
            (matrix[:after, :before], bias)
            for matrix, bias, (before, after) in zip(matrices, biases, self.shapes, strict=True)
        ]


def chained(*sizes: int) -> list[tuple[int, int]]:
    """Return the shapes of a chain of linear maps."""
    return list(itertools.pairwise(sizes))
