"""The networks of CycleGAN: residual generators and patch discriminators for canvases of 8, 32 and 64 pixels.

They are those of Zhu et al. (2017, appendix). At 8 pixels, where two 3 x 3 convolutions already cover most of the
image, all are small perceptrons, unless `conv` is true. Unless `skip` is false, generators add to their input and start
as the identity: in a few hundred steps, networks that first have to learn to copy turn digits into other digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.nn import Module

MLP_SIDE = 8
MLP_WIDTHS = 4
"""Hidden units of the perceptrons, in multiples of the width."""
RESIDUAL_BLOCKS = 6  # as the authors' code (junyanz/pytorch-CycleGAN-and-pix2pix) for small images
PATCHES = {8: 1, 32: 2, 64: 3}
"""`n_layers` of the patch discriminator: 2 x 2 patches of 16 pixels at 8 (beyond the image), 6 x 6 of 34 at 32, and
6 x 6 of 70 at 64."""
INITIAL_SD = 0.02
SLOPE = 0.2


class Reflected(nn.Module):
    """A convolution with reflection padding, without repeating the edge.

    On a GPU the padding is assembled from slices, because there the backward pass of nn.ReflectionPad2d sums in no
    fixed order; elsewhere nn.ReflectionPad2d is a tenth faster.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.pad = kernel // 2
        self.convolution = nn.Conv2d(inputs, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, height, width) -> (n, outputs, height, width)."""
        padded = sliced(x, self.pad) if x.is_cuda else functional.pad(x, (self.pad,) * 4, mode="reflect")
        out: Tensor = self.convolution(padded)
        return out


def sliced(x: Tensor, pad: int) -> Tensor:
    """Return images padded by reflection, assembled from slices."""
    for dim in (2, 3):
        size = x.shape[dim]
        before = x.narrow(dim, 1, pad).flip(dim)
        after = x.narrow(dim, size - 1 - pad, pad).flip(dim)
        x = torch.cat([before, x, after], dim=dim)
    return x


class Residual(nn.Module):
    """Two reflect-padded 3 x 3 convolutions with instance norm, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Reflected(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            Reflected(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) -> the same shape."""
        out: Tensor = x + self.body(x)
        return out


class Clamp(torch.autograd.Function):
    """Clamp to [-1, 1]; outside, only gradients that lead back pass, or saturated pixels would stay saturated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the nearest values in [-1, 1]."""
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient, 0 where descent along it would lead further outside."""
        (x,) = ctx.saved_tensors
        return gradient * ((x.abs() <= 1) | (x * gradient > 0))


class Begun(nn.Module):
    """A network that starts as the identity: its input plus the output of the body, clamped to [-1, 1]."""

    def __init__(self, body: Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, side, side) -> the same shape."""
        out: Tensor = Clamp.apply(x + self.body(x))
        return out


def generator(channels: int, side: int, width: int, *, skip: bool = True, conv: bool = False) -> Module:
    """Return an image-to-image network, (n, channels, side, side) -> the same shape, in [-1, 1]."""
    if side == MLP_SIDE and not conv:
        outputs, shape = channels * side**2, (channels, side, side)
        body, last = _perceptron(outputs, MLP_WIDTHS * width, outputs, nn.ReLU)
        return _ended(nn.Sequential(body, nn.Unflatten(1, shape)), last, skip=skip)
    layers: list[Module] = [Reflected(channels, width, 7), *_normed(width)]
    for _ in range(2):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *_normed(2 * width)]
        width *= 2
    layers += [Residual(width) for _ in range(RESIDUAL_BLOCKS)]
    for _ in range(2):
        up = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
        layers += [up, *_normed(width // 2)]
        width //= 2
    outermost = Reflected(width, channels, 7)
    return _ended(_initialised(nn.Sequential(*layers, outermost)), outermost.convolution, skip=skip)


class Classed(nn.Module):
    """A critic that also sees the class of an image, as one more channel, learnt for each class."""

    def __init__(self, body: Module, classes: int, side: int) -> None:
        super().__init__()
        self.plane = nn.Sequential(nn.Linear(classes, side**2, bias=False), nn.Unflatten(1, (1, side, side)))
        self.body = body

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(n, channels, side, side), one-hot labels (n, classes) -> scores of the body."""
        out: Tensor = self.body(torch.cat([x, self.plane(labels)], dim=1))
        return out


def discriminator(channels: int, side: int, width: int, *, conv: bool = False, classes: int = 0) -> Module:
    """Return a critic, (n, channels, side, side) -> scores (n, 1, patches, patches), of a perceptron (n, 1); real = 1.

    classes: their number if it takes the images' one-hot labels as well
    """
    if classes:
        return Classed(discriminator(channels + 1, side, width, conv=conv), classes, side)
    if side == MLP_SIDE and not conv:
        return _perceptron(channels * side**2, MLP_WIDTHS * width, 1, leaky)[0]
    layers: list[Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
    last = PATCHES[side]
    for layer in range(1, last + 1):
        wider = width * 2
        layers += [nn.Conv2d(width, wider, 4, stride=1 if layer == last else 2, padding=1), *_normed(wider, leaky)]
        width = wider
    return _initialised(nn.Sequential(*layers, nn.Conv2d(width, 1, 4, padding=1)))


def _ended(body: Module, last: Module, *, skip: bool) -> Module:
    """Return a generator from a body ending in `last`: starting at zero and added to the input, or through tanh."""
    if not skip:
        return nn.Sequential(body, nn.Tanh())
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return Begun(body)


def _perceptron(inputs: int, hidden: int, outputs: int, activation: Callable[[], Module]) -> tuple[Module, Module]:
    """Return a network of flattened images with two hidden layers, and its last layer."""
    last = nn.Linear(hidden, outputs)
    first = [nn.Flatten(), nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, hidden), activation()]
    return nn.Sequential(*first, last), last


def leaky() -> Module:
    """Return the discriminators' activation."""
    return nn.LeakyReLU(SLOPE)


def _normed(width: int, activation: Callable[[], Module] = nn.ReLU) -> list[Module]:
    return [nn.InstanceNorm2d(width), activation()]


def _initialised(net: Module) -> Module:
    """Draw the weights of all convolutions from N(0, 0.02), as the authors do, and set biases to 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, INITIAL_SD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
