"""Training step of TAC-GAN: its losses, independent of images, and the update of all weights (Gong et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from privbench.learn import adam

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.builtin.generative.big_gan import Heads
    from privbench.learn import Optimiser


@dataclass(frozen=True)
class Player:
    """A network, all its weights as views of one flat tensor, and the optimiser of that tensor.

    One tensor instead of dozens, because updating a small network's weights singly takes longer than computing them.
    """

    net: nn.Module
    parameters: list[nn.Parameter]
    weights: Tensor
    optimiser: Optimiser
    lr: float

    def descend(self, loss: Tensor) -> None:
        """Take one step; gradients of the loss with respect to other networks are not computed."""
        # The twin has no gradient if its loss is omitted.
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        self.optimiser.step([torch.cat([gradient.flatten() for gradient in gradients])], self.lr)


@dataclass(frozen=True)
class Gan:
    """The state that a step changes."""

    generator: Player
    discriminator: Player
    average: Tensor
    """The generator's averaged weights, flat."""


def discriminator_loss(
    real: Heads, y_real: Tensor, fake: Heads, y_fake: Tensor, *, lambda_c: float = 1.0, variant: str = "tac-gan"
) -> Tensor:
    """Return L_D: hinge, plus the classifier's cross-entropy on real and the twin's on generated examples."""
    hinge = (1 - real.adversarial).relu().mean() + (1 + fake.adversarial).relu().mean()
    classifiers = functional.cross_entropy(real.classifier, y_real)
    if variant == "tac-gan":
        classifiers = classifiers + functional.cross_entropy(fake.twin, y_fake)
    return hinge + lambda_c * classifiers


def generator_loss(fake: Heads, y: Tensor, *, lambda_c: float = 1.0, variant: str = "tac-gan") -> Tensor:
    """Return L_G: look real, be classified as y, and (tac-gan) confuse the twin, which keeps classes diverse."""
    classifiers = functional.cross_entropy(fake.classifier, y)
    if variant == "tac-gan":
        classifiers = classifiers - functional.cross_entropy(fake.twin, y)
    return lambda_c * classifiers - fake.adversarial.mean()


def step(
    gan: Gan,
    real: Tensor,
    y_real: Tensor,
    z: Tensor,
    y: Tensor,
    *,
    lambda_c: float,
    variant: str,
    share: float | Tensor,
) -> Tensor:
    """Take the discriminator's steps, one of the generator and one of its average; return the last two losses.

    real, y_real: (steps, batch, ...) and (steps, batch), a batch for each of the discriminator's steps
    z, y: (steps + 1, batch, latent) and (steps + 1, batch), the last for the generator
    share: weight of the new weights in the average; a float32 scalar or a number

    All images for the discriminator come from one pass, because the generator does not change in between.
    """
    batch = y_real.shape[1]
    with torch.no_grad():
        images = gan.generator.net(z[:-1].flatten(0, 1), y[:-1].flatten()).split(batch)
    for inputs, labels, generated, classes in zip(real, y_real, images, y, strict=False):
        heads = gan.discriminator.net(torch.cat([inputs, generated]))
        seen_real, seen_fake = (
            type(heads)(*(head[part] for head in heads)) for part in (slice(batch), slice(batch, None))
        )
        d_loss = discriminator_loss(seen_real, labels, seen_fake, classes, lambda_c=lambda_c, variant=variant)
        gan.discriminator.descend(d_loss)
    heads = gan.discriminator.net(gan.generator.net(z[-1], y[-1]))
    g_loss = generator_loss(heads, y[-1], lambda_c=lambda_c, variant=variant)
    gan.generator.descend(g_loss)
    gan.average.lerp_(gan.generator.weights.detach(), share)
    return torch.stack([d_loss.detach(), g_loss.detach()])


def player(net: nn.Module, lr: float) -> Player:
    """Return a network, on its device, ready for training."""
    parameters = list(net.parameters())
    weights = torch.cat([parameter.detach().flatten() for parameter in parameters]).requires_grad_()
    fill(net, weights.detach())
    return Player(net.train(), parameters, weights, adam([weights], betas=(0.0, 0.999)), lr)


def fill(net: nn.Module, weights: Tensor) -> None:
    """Make a network's weights views of one flat tensor, in their order."""
    parameters = list(net.parameters())
    for parameter, part in zip(parameters, weights.split([each.numel() for each in parameters]), strict=True):
        parameter.data = part.view_as(parameter)
