"""BigGAN's generator and discriminator, as trained by TAC-GAN, for canvases of 8, 32 and 64 pixels.

Brock, Donahue & Simonyan, Large Scale GAN Training for High Fidelity Natural Image Synthesis, ICLR 2019; Gong et al.,
Twin Auxiliary Classifiers GAN, NeurIPS 2019.

An image of 8 pixels is hardly larger than one convolution's receptive field and uses the same residual blocks without
maps: linear, spectrally normalised, conditionally batch-normalised. With equally many steps they give better digits, in
a third of the time. No attention, shared class embeddings or hierarchical noise, as in the TAC-GAN authors' CIFAR
script. Two 1x1 convolutions are before an upsampling and after a pooling, where BigGAN has them on the other side: both
commute with either, and take a quarter of the time there. Maps are stored channels last, a quarter faster.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from privbench.builtin.generative.spectral import STD, Convolution, Linear, Stack, chained

if TYPE_CHECKING:
    from collections.abc import Iterable

BOTTOM = 4
"""Side in pixels of the generator's first feature map."""
GENERATOR = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2)}
"""Canvas -> channels of the maps in units of `width`, from the bottom up; each but the first doubles the side."""
DISCRIMINATOR = {
    32: ((4, True), (4, True), (4, False), (4, False)),
    64: ((1, True), (2, True), (4, True), (8, True), (16, False)),
}
"""Canvas -> (channels in units of `width`, whether it halves the side) of each block."""
DENSE = 16
"""Units of the networks for 8 pixels, per `width`."""


class Heads(NamedTuple):
    """The discriminator's outputs for a batch."""

    adversarial: Tensor
    """(batch,): high for real."""
    classifier: Tensor
    """(batch, classes) logits; trained on real images only."""
    twin: Tensor
    """(batch, classes) logits; trained on generated images only."""


class ConditionalNorm(nn.Module):
    """BatchNorm with a gain and bias per class."""

    def __init__(self, channels: int, classes: int, *, maps: bool = True) -> None:
        super().__init__()
        self.norm = (nn.BatchNorm2d if maps else nn.BatchNorm1d)(channels, affine=False)
        self.affine = nn.Embedding(classes, 2 * channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise (batch, channels, ...) of classes y (batch,)."""
        affine = self.affine(y).view(len(x), 2, -1, *(1 for _ in x.shape[2:]))
        normal = self.norm(x)
        return torch.addcmul(normal + affine[:, 1], normal, affine[:, 0])  # a gain of 1 + affine


class Up(nn.Module):
    """The generator's residual block, which doubles the side."""

    def __init__(self, before: int, after: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(before, classes), ConditionalNorm(after, classes)
        self.conv1, self.conv2 = Convolution(before, after), Convolution(after, after)
        self.shortcut = Convolution(before, after, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map (batch, before, side, side) to (batch, after, 2 side, 2 side)."""
        inner = self.conv1(_double(self.norm1(x, y).relu()))
        inner = self.conv2(self.norm2(inner, y).relu())
        return inner + _double(self.shortcut(x))


class Down(nn.Module):
    """The discriminator's residual block, which optionally halves the side."""

    def __init__(self, before: int, after: int, *, halve: bool, first: bool) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1, self.conv2 = Convolution(before, after), Convolution(after, after)
        self.shortcut = Convolution(before, after, 1) if halve or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before, side, side) to (batch, after, side, side) or half the side."""
        inner = self.conv1(x if self.first else x.relu())  # pixels are not activations: ReLU would drop the dark ones
        inner = self.conv2(inner.relu())
        if self.halve:
            inner, x = functional.avg_pool2d(inner, 2), functional.avg_pool2d(x, 2)
        return inner + self.shortcut(x)


class Generator(nn.Module):
    """(noise, class) -> image."""

    def __init__(self, side: int, channels: int, classes: int, *, width: int, latent: int) -> None:
        super().__init__()
        maps = [width * units for units in GENERATOR[side]]
        self.latent = latent
        self.bottom = Linear(latent, maps[0] * BOTTOM * BOTTOM)
        self.blocks = nn.ModuleList(Up(*pair, classes) for pair in itertools.pairwise(maps))
        self.norm = nn.BatchNorm2d(maps[-1])
        self.out = Convolution(maps[-1], channels)
        initialise(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Map noise (batch, latent) and classes (batch,) to images (batch, channels, side, side) in [-1, 1]."""
        x = self.bottom(z).view(len(z), -1, BOTTOM, BOTTOM).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, y)
        images: Tensor = self.out(self.norm(x).relu()).tanh()
        return images


class Discriminator(nn.Module):
    """Image -> three heads on a shared trunk."""

    def __init__(self, side: int, channels: int, classes: int, *, width: int) -> None:
        super().__init__()
        before = channels
        blocks: list[nn.Module] = []
        for units, halve in DISCRIMINATOR[side]:
            blocks.append(Down(before, units * width, halve=halve, first=not blocks))
            before = units * width
        self.trunk = nn.Sequential(*blocks)
        self.adversarial = Linear(before, 1)
        self.classifier, self.twin = Linear(before, classes), Linear(before, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Heads:
        """Map images (batch, channels, side, side) in [-1, 1] to the three heads."""
        features = self.trunk(x.contiguous(memory_format=torch.channels_last)).relu().sum(dim=(2, 3))
        return Heads(self.adversarial(features)[:, 0], self.classifier(features), self.twin(features))


class DenseGenerator(nn.Module):
    """(noise, class) -> image of 8 pixels, by one residual block without a map."""

    def __init__(self, side: int, channels: int, classes: int, *, width: int, latent: int) -> None:
        super().__init__()
        size, self.latent, self.shape = DENSE * width, latent, (channels, side, side)
        self.maps = Stack(chained(latent, size, size, size, math.prod(self.shape)))
        self.norm1, self.norm2 = (ConditionalNorm(size, classes, maps=False) for _ in range(2))
        self.norm = nn.BatchNorm1d(size)
        initialise(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Map noise (batch, latent) and classes (batch,) to images (batch, channels, side, side) in [-1, 1]."""
        bottom, map1, map2, out = self.maps()
        x = functional.linear(z, *bottom)
        inner = functional.linear(self.norm1(x, y).relu(), *map1)
        x = x + functional.linear(self.norm2(inner, y).relu(), *map2)
        return functional.linear(self.norm(x).relu(), *out).tanh().view(-1, *self.shape)


class DenseDiscriminator(nn.Module):
    """Image of 8 pixels -> three heads on a shared trunk, one residual block without a map."""

    def __init__(self, side: int, channels: int, classes: int, *, width: int) -> None:
        super().__init__()
        size = DENSE * width
        heads = ((size, 1), (size, classes), (size, classes))
        self.maps = Stack([*chained(channels * side * side, size, size, size), *heads])
        initialise(self)

    def forward(self, x: Tensor) -> Heads:
        """Map images (batch, channels, side, side) in [-1, 1] to the three heads."""
        bottom, map1, map2, *heads = self.maps()
        x = functional.linear(x.flatten(1), *bottom)
        inner = functional.linear(x.relu(), *map1)
        features = (x + functional.linear(inner.relu(), *map2)).relu()
        adversarial, classifier, twin = (functional.linear(features, *head) for head in heads)
        return Heads(adversarial[:, 0], classifier, twin)


def networks(side: int, channels: int, classes: int, *, width: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Return a fresh generator and discriminator for a canvas, from torch's global generator."""
    dense = side not in GENERATOR
    generator, discriminator = (DenseGenerator, DenseDiscriminator) if dense else (Generator, Discriminator)
    return (
        generator(side, channels, classes, width=width, latent=latent),
        discriminator(side, channels, classes, width=width),
    )


def initialise(net: nn.Module) -> None:
    """Draw weights and class embeddings from N(0, 0.02), biases 0, from torch's global generator."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=STD)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.zeros_(module.bias)


def standing_statistics(generator: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set BatchNorm's statistics to their averages over batches of (noise, classes), and switch to eval mode.

    For averaged weights: statistics from training, averaged or copied, belong to the activations of other weights.
    """
    norms = [module for module in generator.modules() if isinstance(module, _BatchNorm)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    generator.train()
    with torch.no_grad():
        for done, (z, y) in enumerate(batches):
            for norm in norms:  # the plain average of all batches; None would read their number from the device
                norm.momentum = 1 / (done + 1)
            generator(z, y)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
    generator.eval()


def _double(x: Tensor) -> Tensor:
    """Return a map of twice the side, each pixel repeated four times."""
    return functional.interpolate(x, scale_factor=2)
