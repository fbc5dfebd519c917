"""Networks of `dp-augm` and `dp-vaegm`: layers with per-example gradients, without batch statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench.learn import Drawing

CONVOLVED_FROM = 16
"""Pixels of the shorter side from which images are convolved; smaller ones are rows of pixels, as tables are."""
CHANNELS = (16, 32)
IMAGE_DIMENSIONS = 3


def convolves(shape: tuple[int, ...]) -> bool:
    """Whether inputs of a shape, as models take them, are convolved."""
    return len(shape) == IMAGE_DIMENSIONS and min(shape[1:]) >= CONVOLVED_FROM


def encoder(shape: tuple[int, ...], width: int, code: int) -> nn.Sequential:
    """Return (b, *shape) -> (b, code): two convolutions, of stride 2, and a linear layer; or two linear layers."""
    if not convolves(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, code))
    first, second = CHANNELS
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * math.prod(_quarter(shape)), code),
    )


def decoder(shape: tuple[int, ...], width: int, code: int) -> nn.Sequential:
    """Return (b, code) -> (b, *shape), unbounded: the encoder's layers the other way round."""
    if not convolves(shape):
        return nn.Sequential(
            nn.Linear(code, width), nn.ReLU(), nn.Linear(width, math.prod(shape)), nn.Unflatten(1, tuple(shape))
        )
    first, second = CHANNELS
    quarter, half = _quarter(shape), tuple((side + 1) // 2 for side in shape[1:])
    return nn.Sequential(
        nn.Linear(code, second * math.prod(quarter)),
        nn.ReLU(),
        nn.Unflatten(1, (second, *quarter)),
        nn.Upsample(size=half),
        nn.Conv2d(second, first, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(size=tuple(shape[1:])),
        nn.Conv2d(first, shape[0], 3, padding=1),
    )


def head(code: int, width: int, classes: int) -> nn.Sequential:
    """Return codes (b, code) -> logits: a hidden layer, where it has any width, and a linear one."""
    hidden = [nn.Linear(code, width), nn.ReLU()] if width else []
    return nn.Sequential(*hidden, nn.Linear(width or code, classes))


class Vae(Drawing):
    """A variational autoencoder of one hidden layer on each side (Kingma & Welling 2014)."""

    def __init__(self, shape: tuple[int, ...], width: int, latent: int) -> None:
        super().__init__()
        size = math.prod(shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Tanh(), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.Tanh(), nn.Linear(width, size), nn.Unflatten(1, tuple(shape))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is decoded of one draw z, (b, *shape), and the mean and log variance of z, (b, latent)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=self.generator)
        z = mean + noise * (log_variance / 2).exp()
        return self.decoder(z), mean, log_variance


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(m, v) || N(0, 1)) = (m^2 + v - 1 - ln v) / 2, summed over the latents (b, latent): (b,)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2


def bernoulli_loss(decoded: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """Return (b,) totals of reconstruction and KL for pixels x in [0, 1]: cross-entropy of what is decoded, logits."""
    logits, mean, log_variance = decoded
    each = functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return each.flatten(1).sum(dim=1) + kl_divergence(mean, log_variance)


def gaussian_loss(decoded: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """Return (b,) totals of reconstruction and KL for any x: half the squared error, as of a unit normal, and KL."""
    means, mean, log_variance = decoded
    return (means - x).square().flatten(1).sum(dim=1) / 2 + kl_divergence(mean, log_variance)


def _quarter(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple((side + 3) // 4 for side in shape[1:])
