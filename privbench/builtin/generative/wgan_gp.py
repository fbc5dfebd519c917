"""Conditional WGAN-GP whose critic clips its code and adds noise: the generator of DP-critic.

Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, 2018 (1803.03148), sections 4.1 and 5.2.

    arrays = ctx.kept("wgan-gp", members, options, make)      # make = maker(task, members, settings)

With noise of scale 0 and no clipping it is WGAN-GP (Gulrajani et al. 2017). A step is a function of networks,
optimisers and tensors on the device; all random numbers are drawn on the CPU, for several steps at a time.
"""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from privbench.builtin.generative.pixels import from_canvas, to_canvas
from privbench.builtin.generative.wgan_gp_nets import Critic, Generator
from privbench.errors import Diverged
from privbench.learn import REPORT_SECONDS, Steps, adam, arrays_of, descend, exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from privbench.aliases import Array
    from privbench.api import Context, Examples
    from privbench.learn import Optimiser

BETAS = (0.0, 0.9)
CHUNK = 16  # generator steps whose random numbers are drawn together
SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the generator; the options of `DPCritic` without their prefix."""

    sigma: float
    clip: float
    code: int
    gp_weight: float
    n_critic: int
    steps: int
    width: int
    batch: int
    lr: float
    latent: int
    average: float
    shape: tuple[int, ...]
    """Shape of one input of a model: (channels, height, width)."""
    classes: int
    side: int
    """Side of the canvas."""

    def options(self) -> dict[str, Any]:
        """Return all settings as plain values, for the key of stored arrays."""
        return asdict(self)


class Gan(NamedTuple):
    """Both networks, each with its optimiser, with the same learning rate."""

    generator: Generator
    critic: Critic
    generators: Optimiser
    critics: Optimiser
    lr: float


class Batch(NamedTuple):
    """The tensors of one generator step and its critic steps, or, as a table, of several in a row.

    The leading dimensions are (n_critic, batch) for the critic's inputs and (n_critic + 1, batch) for the generator's;
    its last slice is for its own step. The labels in the former are those of the real images in `rows`.
    """

    rows: Tensor
    z: Tensor
    mix: Tensor
    noise: Tensor | None = None
    """None without noise."""


def gradient_penalty(
    critic: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor, labels: Tensor, mix: Tensor
) -> Tensor:
    """Return the mean of (||grad D(x, y)|| - 1)^2 for x between a real and a fake image and the real one's label y.

    critic: (inputs, labels) -> (batch,)
    mix: (batch,) in [0, 1], 1 at the fake image
    """
    between = torch.lerp(real, fake, mix.view(-1, *(1 for _ in real.shape[1:]))).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, labels).sum(), between, create_graph=True)
    return (torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1).square().mean()


def critic_loss(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    labels: Tensor,
    mix: Tensor,
    *,
    noise: Tensor | None,
    gp_weight: float,
) -> Tensor:
    """Return E D(fake) - E D(real) + gp_weight * penalty, with the labels (batch, classes) of the real images.

    noise: (2 * batch, d) standard normals, the first half for the real images

    The penalty needs none: the head behind the noise is linear, so the gradient by the input does not depend on it.
    """
    maps = critic.maps()
    values = critic(torch.cat([real, fake]), torch.cat([labels, labels]), noise, maps)
    gap = values[len(real) :].mean() - values[: len(real)].mean()
    penalty = gradient_penalty(lambda x, y: critic(x, y, None, maps), real, fake, labels, mix)
    return gap + gp_weight * penalty


def critic_step(
    gan: Gan,
    real: Tensor,
    fake: Tensor,
    labels: Tensor,
    mix: Tensor,
    *,
    noise: Tensor | None,
    gp_weight: float,
) -> Tensor:
    """Take one step of the critic and return its loss, detached and on the device; see `critic_loss`."""
    loss = critic_loss(gan.critic, real, fake, labels, mix, noise=noise, gp_weight=gp_weight)
    descend(gan.critics, loss, gan.lr)
    return loss.detach()


def generator_step(gan: Gan, z: Tensor, labels: Tensor, maps: list[Callable[[Tensor], Tensor]]) -> Tensor:
    """Take one generator step towards larger D, and return its loss -E D(fake), detached and on the device.

    The critic's noise would add a constant to the loss and nothing to its gradient, so none is drawn.
    maps: those of the generator
    """
    loss = -gan.critic(gan.generator(z, labels, maps), labels).mean()
    descend(gan.generators, loss, gan.lr)
    return loss.detach()


def step(gan: Gan, images: Tensor, labels: Tensor, batch: Batch, gp_weight: float) -> Tensor:
    """Take the critic steps and one generator step; return the sum of all losses.

    images (n, channels, side, side) and one-hot labels (n, classes) are those of all members.
    """
    wanted = labels[batch.rows]
    n_critic, maps = len(batch.z) - 1, gan.generator.maps()
    with torch.no_grad():  # the generator does not change, so one pass makes the images of all critic steps
        fakes = gan.generator(batch.z[:-1].flatten(0, 1), wanted[:-1].flatten(0, 1), maps).unflatten(0, (n_critic, -1))
    total = torch.zeros((), device=images.device)
    for k in range(n_critic):
        real = images[batch.rows[k]]
        noise = None if batch.noise is None else batch.noise[k]
        total += critic_step(gan, real, fakes[k], wanted[k], batch.mix[k], noise=noise, gp_weight=gp_weight)
    return total + generator_step(gan, batch.z[-1], wanted[-1], maps)


def train(members: Examples, settings: Settings, ctx: Context) -> Generator:
    """Train on the members, and return the generator, averaged over its last steps, in eval mode.

    Labels are drawn with the class frequencies of the members. Raises Diverged if a loss or a weight is not finite.
    """
    device = torch.device(ctx.device)
    with ctx.seeded("init"):
        generator, critic = networks(settings)
    with exact(device):
        gan = gan_of(generator.to(device).train(), critic.to(device).train(), settings.lr)
        images = to_canvas(members.x, settings.side).to(device)
        labels = one_hot(torch.from_numpy(members.y), settings.classes).to(device)
        averaged = _fit(gan, images, labels, settings, ctx)
    averaged.eval()
    return averaged


def maker(members: Examples, settings: Settings) -> Callable[[Context], dict[str, Array]]:
    """Return the function for `ctx.kept`, which returns the generator's weights as arrays."""

    def make(ctx: Context) -> dict[str, Array]:
        return arrays_of(train(members, settings, ctx))

    return make


def networks(settings: Settings) -> tuple[Generator, Critic]:
    """Return a fresh generator and critic, initialised from torch's global generator."""
    s, channels = settings, settings.shape[0]
    generator = Generator(s.side, channels, s.classes, s.width, s.latent)
    return generator, Critic(s.side, channels, s.classes, width=s.width, code=s.code, sigma=s.sigma, clip=s.clip)


def gan_of(generator: Generator, critic: Critic, lr: float) -> Gan:
    """Return both networks with an Adam optimiser each."""
    first, second = (adam(net.parameters(), betas=BETAS) for net in (generator, critic))
    return Gan(generator, critic, first, second, lr)


def sample(generator: Generator, labels: Array, shape: Sequence[int], normals: torch.Generator, device: str) -> Array:
    """Return one uint8 image (height, width, channels) for each label (n,) int64, from normals drawn on the CPU."""
    generator = generator.to(device).eval()
    images = [np.zeros((0, *shape[1:], shape[0]), np.uint8)]
    with torch.inference_mode(), exact(torch.device(device)):
        for start in range(0, len(labels), SAMPLES):
            wanted = one_hot(torch.from_numpy(labels[start : start + SAMPLES]), generator.classes).to(device)
            z = torch.randn(len(wanted), generator.latent, generator=normals).to(device)
            images.append(from_canvas(generator(z, wanted), shape))
    return np.concatenate(images)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return (n, classes) float32 from (n,) int64."""
    return functional.one_hot(labels, classes).float()


def draws(n: int, settings: Settings, normals: torch.Generator) -> Iterator[Batch]:
    """Yield the random numbers of all steps as tables for several steps, on the CPU, with rows among n members."""
    s = settings
    for done in range(0, s.steps, CHUNK):
        chunk = min(CHUNK, s.steps - done)
        rows = torch.randint(n, (chunk, s.n_critic + 1, s.batch), generator=normals)
        z = torch.randn(chunk, s.n_critic + 1, s.batch, s.latent, generator=normals)
        mix = torch.rand(chunk, s.n_critic, s.batch, generator=normals)
        # Independent for each real and each fake image.
        noise = torch.randn(chunk, s.n_critic, 2 * s.batch, s.code, generator=normals) if s.sigma else None
        yield Batch(rows, z, mix, noise)


def _fit(gan: Gan, images: Tensor, labels: Tensor, settings: Settings, ctx: Context) -> Generator:
    device, averaged = images.device, copy.deepcopy(gan.generator)
    average, weights = list(averaged.parameters()), list(gan.generator.parameters())
    total, done, reported = torch.zeros((), device=device), 0, 0.0

    def one(*drawn: Tensor) -> None:
        total.add_(step(gan, images, labels, Batch(*drawn), settings.gp_weight))
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1 - settings.average)

    steps = Steps(device, "WGAN-GP")
    for drawn in draws(len(images), settings, ctx.generator("draws")):
        steps.run(one, *(part.to(device) for part in drawn if part is not None))
        done += len(drawn.rows)
        if done == settings.steps or time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            _check(total, done, settings)
            ctx.progress(done / settings.steps)
    _check(torch.stack([weight.detach().sum() for weight in average]), done, settings)
    return averaged


def _check(total: Tensor, done: int, settings: Settings) -> None:
    if not bool(total.isfinite().all()):
        raise Diverged(
            f"WGAN-GP diverged within {done} of {settings.steps} steps; "
            f"try a lower learning rate (gan_lr={settings.lr / 10:g})."
        )
