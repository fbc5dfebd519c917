"""Spectral normalisation, of convolutions and linear maps (Miyato et al., ICLR 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Divided(torch.autograd.Function):
    """weight / sigma, where sigma is the largest singular value to given singular vectors."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, sigma: Tensor, left: Tensor, right: Tensor) -> Tensor:
        normal = weight / sigma
        ctx.save_for_backward(normal, sigma, left, right)
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        normal, sigma, left, right = ctx.saved_tensors
        inner = torch.dot(gradients[0].flatten(), normal.flatten())
        through = gradients[0].flatten(1) - torch.outer(left * inner, right)
        return through.div_(sigma).view_as(normal), None, None, None


class _Spectral(nn.Module):
    """Spectral normalisation (Miyato et al. 2018): a weight divided by its largest singular value, as a matrix.

    One power iteration per forward pass in training; the singular vectors count as constants in the gradient. Of
    every small net's step, torch's own parametrisation would take more than half.
    """

    weight: Tensor
    left: Tensor
    right: Tensor

    def start(self) -> None:
        """Draw the estimates of the singular vectors."""
        out, rest = self.weight.flatten(1).shape
        self.register_buffer("left", functional.normalize(torch.randn(out), dim=0))
        self.register_buffer("right", functional.normalize(torch.randn(rest), dim=0))

    def normal(self) -> Tensor:
        """Return the normalised weight."""
        matrix = self.weight.detach().flatten(1)
        if self.training:  # new tensors: what waits for its backward keeps the old ones
            right = torch.mv(matrix.t(), self.left)
            self.right = right / right.norm()
        product = torch.mv(matrix, self.right)
        if self.training:
            sigma = product.norm()
            self.left = product / sigma
        else:
            sigma = torch.dot(self.left, product)
        normal: Tensor = _Divided.apply(self.weight, sigma, self.left, self.right)
        return normal


class Convolution(_Spectral, nn.Conv2d):
    """A convolution that keeps the size of the map, spectrally normalised."""

    def __init__(self, before: int, after: int, kernel: int = 3) -> None:
        super().__init__(before, after, kernel, padding=kernel // 2)
        self.start()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before, side, side) to (batch, after, side, side)."""
        return functional.conv2d(x, self.normal(), self.bias, padding=self.padding)


class Linear(_Spectral, nn.Linear):
    """A linear map, spectrally normalised."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after)
        self.start()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before) to (batch, after)."""
        return functional.linear(x, self.normal(), self.bias)
