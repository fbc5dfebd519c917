"""The conditional critic and generator of DP-critic, for canvases of 8, 32 and 64 pixels.

Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, 2018 (1803.03148), section 5.2.

The paper states neither kernels nor channels; what it states (a first map of 4096 numbers, three deconvolutions, a
max-pool) fits 64 maps of 8x8 that grow to 64x64 and are pooled to 32. All canvases use that design here: a first map
of a quarter of the canvas, three doublings, one halving. The last deconvolution has no SELU, because tanh(SELU(.)) is
never below -0.95 and so could not produce black.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Module: TypeAlias = Any

KERNEL, STRIDE, PADDING = 4, 2, 1
"""Of layers that halve or double a map; a map of BOTTOM pixels keeps its side, with a kernel of 3 and a stride of 1."""
BOTTOM = 2
DENSE = 8
"""Side of the largest canvas on which a convolution is a matrix product: on a CPU, five times as fast."""
HALVINGS = 4
DOUBLINGS = 3
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
"""SELU's constants, as in torch."""


class NoisyClip(nn.Module):
    """The "DP layer": a / max(||a|| / clip, 1) + N(0, sigma^2 I), per example; without noise in eval mode.

    With sigma = 0 and clip = inf it returns its input, bit for bit.
    """

    def __init__(self, sigma: float, clip: float) -> None:
        super().__init__()
        self.sigma, self.clip = sigma, clip

    def forward(self, code: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map (batch, d) to the same shape; noise: (batch, d) standard normals, drawn for this pass only."""
        if not math.isinf(self.clip):
            norm = torch.linalg.vector_norm(code, dim=1, keepdim=True)
            code = code / (norm / self.clip).clamp(min=1)
        return code + self.sigma * noise if self.training and self.sigma and noise is not None else code


class Critic(nn.Module):
    """Four convolutions with SELU, a linear layer with the label as an input, the noisy clip, a linear head.

    No BatchNorm: the gradient penalty is per example. The output of the linear layer is multiplied by numbers of the
    class. Without them, and without a clip, D(x, y) would be f(x) + g(y): as fake and real images have the same labels,
    g would cancel from the loss, and the generator would not learn the meaning of a label.
    """

    def __init__(
        self, side: int, channels: int, classes: int, *, width: int, code: int, sigma: float, clip: float
    ) -> None:
        super().__init__()
        layers, dense = [], side <= DENSE
        for position in range(HALVINGS):
            wide = width if position else max(1, width // 2)
            kernel, stride = (KERNEL, STRIDE) if side > BOTTOM else (KERNEL - 1, 1)
            layers.append(_Convolution(channels, wide, side, kernel=kernel, stride=stride, dense=dense))
            channels, side = wide, max(side // STRIDE, BOTTOM)
        self.convolutions = nn.ModuleList(layers)
        self.project = nn.Linear(channels * side**2 + classes, code)
        self.scale = nn.Linear(classes, code, bias=False)
        self.clip = NoisyClip(sigma, clip)
        self.head = nn.Linear(code, 1)
        _initialise(self.project, channels * side**2 + 1)  # one element of the label is not zero
        _initialise(self.head, code)
        nn.init.normal_(self.scale.weight)

    def code(self, images: Tensor, labels: Tensor, maps: list[Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        """Return (batch, d): the input of the noisy clip; `maps` as in `forward`."""
        features = images
        for convolve in maps or self.maps():
            features = selu(convolve(features))
        code: Tensor = self.project(torch.cat([features.flatten(1), labels], dim=1)) * self.scale(labels)
        return code

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        noise: Tensor | None = None,
        maps: list[Callable[[Tensor], Tensor]] | None = None,
    ) -> Tensor:
        """Map images (batch, channels, side, side) in [-1, 1] and one-hot labels (batch, classes) to (batch,).

        noise: see `NoisyClip`
        maps: the result of `maps()`, if several passes share it
        """
        value: Tensor = self.head(self.clip(self.code(images, labels, maps), noise))
        return value[:, 0]

    def maps(self) -> list[Callable[[Tensor], Tensor]]:
        """Return the convolutions as functions; on small canvases their matrices are computed here, once."""
        return [each.map() for each in self.convolutions]


class Generator(nn.Module):
    """A linear layer, three deconvolutions with SELU between them, a 2x2 max-pool, tanh."""

    def __init__(self, side: int, channels: int, classes: int, width: int, latent: int) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        self.output = (channels, side * STRIDE, side * STRIDE)
        start = side // STRIDE ** (DOUBLINGS - 1)
        self.first = (width, start, start)
        self.linear = nn.Linear(latent + classes, width * start**2)
        _initialise(self.linear, latent + 1)  # one element of the label is not zero
        narrow = [width, max(1, width // 2), max(1, width // 4), channels]
        self.deconvolutions = nn.ModuleList(
            _Deconvolution(narrow[i], narrow[i + 1], start * STRIDE**i, dense=side <= DENSE) for i in range(DOUBLINGS)
        )

    def forward(self, z: Tensor, labels: Tensor, maps: list[Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        """Map normals (batch, latent) and one-hot labels (batch, classes) to images in [-1, 1]; `maps` as in Critic."""
        features = selu(self.linear(torch.cat([z, labels], dim=1))).unflatten(1, self.first)
        *inner, last = maps or self.maps()
        for deconvolve in inner:
            features = selu(deconvolve(features))
        return functional.max_pool2d(last(features).reshape(-1, *self.output), 2).tanh()

    def maps(self) -> list[Callable[[Tensor], Tensor]]:
        """Return the deconvolutions as functions, like the critic's `maps`."""
        return [each.map() for each in self.deconvolutions]


def selu(x: Tensor) -> Tensor:
    """Return SELU (Klambauer et al. 2017), up to rounding; on a CPU in a fifth of the time of torch's.

    torch computes exp(x) - 1 near 0 to full relative precision. Here the error is absolute, below 2e-7.
    """
    out: Tensor = functional.selu(x) if x.is_cuda else _Selu.apply(x)
    return out


class _Selu(torch.autograd.Function):
    """SELU via exp; its gradient is torch's, which is differentiable again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        below = x.clamp(max=0).exp_().sub_(1).mul_(ALPHA * SCALE)
        return below.add_(x.clamp(min=0), alpha=SCALE)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        back: Tensor = torch.ops.aten.elu_backward(gradient, ALPHA, SCALE, 1.0, is_result=False, self_or_result=x)
        return back


class _Convolution(nn.Conv2d):
    """A convolution of square maps, also available as a matrix."""

    taps: Tensor

    def __init__(self, channels: int, out: int, side: int, *, kernel: int, stride: int, dense: bool) -> None:
        super().__init__(channels, out, kernel, stride, PADDING)
        _initialise(self, channels * kernel**2)
        self.dense = dense
        if dense:
            self.register_buffer("taps", _taps(side, kernel, stride), persistent=False)

    def map(self) -> Callable[[Tensor], Tensor]:
        """Return the function from maps to maps, or, where dense, from maps to flattened maps."""
        forward: Callable[[Tensor], Tensor] = self.forward
        return _product(self, (1, 2, 0, 3)) if self.dense else forward


class _Deconvolution(nn.ConvTranspose2d):
    """A transposed convolution that doubles the side of square maps, also available as a matrix."""

    taps: Tensor

    def __init__(self, channels: int, out: int, side: int, *, dense: bool) -> None:
        super().__init__(channels, out, KERNEL, STRIDE, PADDING)
        _initialise(self, channels * (KERNEL // STRIDE) ** 2)  # the number of taps that contribute to a pixel
        self.dense = dense
        if dense:
            self.register_buffer("taps", _taps(side * STRIDE, KERNEL, STRIDE).mT.contiguous(), persistent=False)

    def map(self) -> Callable[[Tensor], Tensor]:
        """Return the function from maps to maps, or, where dense, from maps to flattened maps."""
        forward: Callable[[Tensor], Tensor] = self.forward
        return _product(self, (0, 2, 1, 3)) if self.dense else forward


def _product(layer: _Convolution | _Deconvolution, order: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Return a layer as one matrix product.

    order: permutes (two of the weight's channels, pixels, output pixels) to input channels, pixels, output channels,
        output pixels
    """
    _, pixels, outer = layer.taps.shape
    matrix = (layer.weight.flatten(2) @ layer.taps.flatten(1)).unflatten(2, (pixels, outer))
    matrix = matrix.permute(order).reshape(layer.in_channels * pixels, layer.out_channels * outer)
    bias = layer.bias.repeat_interleave(outer)
    return lambda maps: torch.addmm(bias, maps.flatten(1), matrix)


def _taps(side: int, kernel: int, stride: int) -> Tensor:
    """Return (kernel^2, side^2, out^2): 1 if an output pixel reads an input pixel through that weight, else 0."""
    out = (side + 2 * PADDING - kernel) // stride + 1
    tap, pixel, at = torch.arange(kernel), torch.arange(side), torch.arange(out)
    reads = (at * stride + tap[:, None, None] - PADDING == pixel[:, None]).float()
    return torch.einsum("upr,vqs->uvpqrs", reads, reads).reshape(kernel**2, side**2, out**2)


def _initialise(layer: Module, fan_in: int) -> None:
    """Preserve the variance through SELU (Klambauer et al. 2017); it vanishes with torch's default."""
    nn.init.normal_(layer.weight, std=fan_in**-0.5)
    nn.init.zeros_(layer.bias)
