"""One step of TAC-GAN: its losses, which know nothing of images, and what a step changes (Gong et al. 2019)."""

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
    """A net, all its weights as one flat tensor that they are views of, and the optimiser of that.

    One tensor in place of dozens, for to update a small net's weights one by one takes longer than to compute them.
    """

    net: nn.Module
    parameters: list[nn.Parameter]
    weights: Tensor
    optimiser: Optimiser
    lr: float

    def descend(self, loss: Tensor) -> None:
        """Take one step; the loss's gradients with respect to other nets are not computed."""
        # The twin has no gradient where its loss is left out.
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        self.optimiser.step([torch.cat([gradient.flatten() for gradient in gradients])], self.lr)


@dataclass(frozen=True)
class Gan:
    """What one step changes."""

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
    """Return L_G: seem real, be classified as y, and (tac-gan) leave the twin unsure, which keeps classes diverse."""
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

    real: (steps, batch, ...) and y_real: (steps, batch), a batch for each of the discriminator's steps; z:
    (steps + 1, batch, latent) and y: (steps + 1, batch), the last for the generator. All the images that the
    discriminator sees come from one pass, for the generator is the same meanwhile. share: that the new weights have in
    the average; a float32 scalar or a number.
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
    """Return a net, on its device, ready for training."""
    parameters = list(net.parameters())
    weights = torch.cat([parameter.detach().flatten() for parameter in parameters]).requires_grad_()
    fill(net, weights.detach())
    return Player(net.train(), parameters, weights, adam([weights], betas=(0.0, 0.999)), lr)


def fill(net: nn.Module, weights: Tensor) -> None:
    """Make a net's weights views of one flat tensor, in their order."""
    parameters = list(net.parameters())
    for parameter, part in zip(parameters, weights.split([each.numel() for each in parameters]), strict=True):
        parameter.data = part.view_as(parameter)
