"""BigGAN's nets as a careful person writes them, for `generative_steps.py`: those of `big_gan`, of torch's own layers.

Spectral norm is torch's, layer by layer; maps are laid out as torch does by default; 1x1 convolutions stand where
BigGAN has them. For images of 8 pixels the same blocks are without maps, as in `big_gan`.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from privbench.builtin.generative.big_gan import BOTTOM, DENSE, DISCRIMINATOR, GENERATOR, Heads
from privbench.builtin.generative.spectral import STD

if TYPE_CHECKING:
    from torch import Tensor


def plain(before: int, after: int, kernel: int = 3, *, dense: bool) -> nn.Module:
    """Return a linear map, or a convolution that keeps the size of a map."""
    layer = nn.Linear(before, after) if dense else nn.Conv2d(before, after, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=STD)
    nn.init.zeros_(layer.bias)
    return spectral_norm(layer)


def batch_norm(channels: int, *, dense: bool, affine: bool = True) -> nn.Module:
    return (nn.BatchNorm1d if dense else nn.BatchNorm2d)(channels, affine=affine)


class ConditionalNorm(nn.Module):
    """BatchNorm with a gain and a bias for each class."""

    def __init__(self, channels: int, classes: int, *, dense: bool) -> None:
        super().__init__()
        self.norm = batch_norm(channels, dense=dense, affine=False)
        self.gain, self.bias = (nn.Embedding(classes, channels) for _ in range(2))
        for embedding in (self.gain, self.bias):
            nn.init.normal_(embedding.weight, std=STD)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise (batch, channels, ...) of classes y (batch,)."""
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:]))
        normal: Tensor = self.norm(x) * (1 + self.gain(y).view(shape)) + self.bias(y).view(shape)
        return normal


class Up(nn.Module):
    """The generator's residual block, which doubles the side of maps."""

    def __init__(self, before: int, after: int, classes: int, *, dense: bool) -> None:
        super().__init__()
        self.norm1 = ConditionalNorm(before, classes, dense=dense)
        self.norm2 = ConditionalNorm(after, classes, dense=dense)
        self.map1, self.map2 = plain(before, after, dense=dense), plain(after, after, dense=dense)
        self.upsample = nn.Identity() if dense else nn.Upsample(scale_factor=2)
        self.shortcut = nn.Identity() if dense else plain(before, after, 1, dense=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map (batch, before, ...) of classes y (batch,) to (batch, after, ...)."""
        inner = self.map1(self.upsample(self.norm1(x, y).relu()))
        out: Tensor = self.map2(self.norm2(inner, y).relu()) + self.shortcut(self.upsample(x))
        return out


class Down(nn.Module):
    """The discriminator's residual block, which may halve the side of maps."""

    def __init__(self, before: int, after: int, *, halve: bool, first: bool, dense: bool) -> None:
        super().__init__()
        self.first = first
        self.map1, self.map2 = plain(before, after, dense=dense), plain(after, after, dense=dense)
        self.halve = nn.AvgPool2d(2) if halve else nn.Identity()
        self.shortcut = plain(before, after, 1, dense=dense) if halve or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before, ...) to (batch, after, ...)."""
        inner = self.map2(self.map1(x if self.first else x.relu()).relu())
        # Before activations, at the image, BigGAN halves first.
        shortcut = self.shortcut(self.halve(x)) if self.first else self.halve(self.shortcut(x))
        out: Tensor = self.halve(inner) + shortcut
        return out


class Generator(nn.Module):
    """(noise, class) -> image."""

    def __init__(self, side: int, channels: int, classes: int, *, width: int, latent: int) -> None:
        super().__init__()
        dense = side not in GENERATOR
        sizes = [DENSE * width] * 2 if dense else [width * units for units in GENERATOR[side]]
        outputs = (channels, side, side)
        start = nn.Identity() if dense else nn.Unflatten(1, (sizes[0], BOTTOM, BOTTOM))
        self.bottom = nn.Sequential(plain(latent, sizes[0] * (1 if dense else BOTTOM**2), dense=True), start)
        self.blocks = nn.ModuleList(Up(*pair, classes, dense=dense) for pair in itertools.pairwise(sizes))
        out = plain(sizes[-1], math.prod(outputs) if dense else channels, dense=dense)
        end = nn.Unflatten(1, outputs) if dense else nn.Identity()
        self.top = nn.Sequential(batch_norm(sizes[-1], dense=dense), nn.ReLU(), out, nn.Tanh(), end)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Map noise (batch, latent) and classes (batch,) to images (batch, channels, side, side) in [-1, 1]."""
        x = self.bottom(z)
        for block in self.blocks:
            x = block(x, y)
        images: Tensor = self.top(x)
        return images


class Discriminator(nn.Module):
    """Image -> three heads on a shared trunk."""

    def __init__(self, side: int, channels: int, classes: int, *, width: int) -> None:
        super().__init__()
        self.dense = side not in DISCRIMINATOR
        if self.dense:
            size = DENSE * width
            bottom = [nn.Flatten(), plain(channels * side**2, size, dense=True)]
            self.trunk = nn.Sequential(*bottom, Down(size, size, halve=False, first=False, dense=True), nn.ReLU())
        else:
            blocks: list[nn.Module] = []
            size = channels
            for units, halve in DISCRIMINATOR[side]:
                blocks.append(Down(size, units * width, halve=halve, first=not blocks, dense=False))
                size = units * width
            self.trunk = nn.Sequential(*blocks, nn.ReLU())
        self.adversarial = plain(size, 1, dense=True)
        self.classifier, self.twin = plain(size, classes, dense=True), plain(size, classes, dense=True)

    def forward(self, x: Tensor) -> Heads:
        """Map images (batch, channels, side, side) in [-1, 1] to the three heads."""
        features = self.trunk(x) if self.dense else self.trunk(x).sum(dim=(2, 3))
        return Heads(self.adversarial(features)[:, 0], self.classifier(features), self.twin(features))


def networks(side: int, channels: int, classes: int, *, width: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Return a fresh generator and discriminator, as `big_gan.networks` does."""
    return (
        Generator(side, channels, classes, width=width, latent=latent),
        Discriminator(side, channels, classes, width=width),
    )
