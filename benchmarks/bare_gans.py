"""The training of three GANs as a careful person writes it from the papers: `generative_steps.py` and `gpu.py` time it.

    step = tac_gan(images, labels, classes, options, tuned=False)       # one step, on the device of the images

Adam with torch's defaults, indexed batches, backward while the other net's weights are frozen, averaged weights. Where
the authors' codes take longer, this does what is quick and as simple: real and generated images go through a critic as
one batch, a history pool swaps a batch at once, an average takes all weights at once. `tuned` is with fused Adam and,
for TAC-GAN and WGAN-GP, with privbench's nets, which normalise and convolve in other ways. `capturable` is with Adam
that a CUDA graph can hold. Learning rates are constant.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

import plain_big_gan
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from privbench.builtin.generative import big_gan, cycle_gan, cycle_gan_nets, wgan_gp
from privbench.builtin.generative.cycle_game import POOL

if TYPE_CHECKING:
    from privbench.builtin.generative.cycle_gan_options import CycleGanOptions
    from privbench.builtin.generative.tac_gan import TacGanOptions

Step: TypeAlias = Callable[[], None]


def adam(
    nets: Iterable[nn.Module], lr: float, betas: tuple[float, float], *, tuned: bool, capturable: bool
) -> torch.optim.Optimizer:
    weights = [weight for net in nets for weight in net.parameters()]
    return torch.optim.Adam(weights, lr=lr, betas=betas, fused=True if tuned else None, capturable=capturable)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def tac_gan(
    images: Tensor, labels: Tensor, classes: int, o: TacGanOptions, *, tuned: bool, capturable: bool = False
) -> Step:
    source, device = big_gan if tuned else plain_big_gan, images.device
    g, d = (
        net.to(device)
        for net in source.networks(images.shape[2], images.shape[1], classes, width=o.gan_width, latent=o.latent)
    )
    g_adam, d_adam = (adam([net], o.gan_lr, (0.0, 0.999), tuned=tuned, capturable=capturable) for net in (g, d))
    averaged, average = copy.deepcopy(g), get_ema_multi_avg_fn(o.ema)
    cross_entropy, size = functional.cross_entropy, o.gan_batch

    def draw() -> tuple[Tensor, Tensor]:
        return torch.randn(size, o.latent, device=device), torch.randint(classes, (size,), device=device)

    def step() -> None:
        for _ in range(o.d_steps):
            real, (z, y) = torch.randint(len(images), (size,), device=device), draw()
            with torch.no_grad():
                fake = g(z, y)
            scores, classifier, twin = d(torch.cat([images[real], fake]))
            hinge = (1 - scores[:size]).relu().mean() + (1 + scores[size:]).relu().mean()
            classified = cross_entropy(classifier[:size], labels[real]) + cross_entropy(twin[size:], y)
            descend(d_adam, hinge + o.lambda_c * classified)
        z, y = draw()
        d.requires_grad_(requires_grad=False)
        scores, classifier, twin = d(g(z, y))
        loss = o.lambda_c * (cross_entropy(classifier, y) - cross_entropy(twin, y)) - scores.mean()
        descend(g_adam, loss)
        d.requires_grad_(requires_grad=True)
        average(list(averaged.parameters()), list(g.parameters()), 0)

    return step


class Pool:
    """CycleGAN's history of images, a batch swapped at once."""

    def __init__(self) -> None:
        self.images: Tensor | None = None

    def swap(self, images: Tensor) -> Tensor:
        """Return images of the same shape, some of them older."""
        if self.images is None or len(self.images) < POOL:
            self.images = images if self.images is None else torch.cat([self.images, images])
            return images
        device = images.device  # torch.randperm draws few numbers on the CPU, for which a card would have to wait
        slots = torch.rand(len(self.images), device=device).argsort()[: len(images)]
        coins = (torch.rand(len(images), device=device) < 1 / 2).view(-1, 1, 1, 1)
        older = self.images[slots]
        self.images[slots] = torch.where(coins, images, older)
        return torch.where(coins, older, images)


def plainly_padded(net: nn.Module) -> nn.Module:
    """Return a net whose convolutions leave padding by reflection to torch."""
    for name, child in net.named_children():
        if isinstance(child, cycle_gan_nets.Reflected):
            old, pad = child.convolution, child.pad
            new = nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, padding=pad, padding_mode="reflect")
            new.load_state_dict(old.state_dict())
            setattr(net, name, new)
        else:
            plainly_padded(child)
    return net


def cycle_game(safe: Tensor, risky: Tensor, o: CycleGanOptions, *, tuned: bool, capturable: bool = False) -> Step:
    device = safe.device
    game = cycle_gan.new_game(safe.shape[1], safe.shape[2], o, device)
    s2r, r2s = plainly_padded(game.s2r), plainly_padded(game.r2s)
    critic_r, critic_s = game.critic_r, game.critic_s
    g_adam = adam([s2r, r2s], o.cycle_lr, cycle_gan.BETAS, tuned=tuned, capturable=capturable)
    d_adam = adam([critic_r, critic_s], o.cycle_lr, cycle_gan.BETAS, tuned=tuned, capturable=capturable)
    pool_r, pool_s = Pool(), Pool()
    l1, size = functional.l1_loss, o.cycle_batch

    def ones(scores: Tensor) -> Tensor:
        return functional.mse_loss(scores, torch.ones_like(scores))

    def judged(critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        on_real, on_made = critic(torch.cat([real, made])).chunk(2)
        return (ones(on_real) + on_made.square().mean()) / 2

    def step() -> None:
        real_s, real_r = (images[torch.randint(len(images), (size,), device=device)] for images in (safe, risky))
        for critic in (critic_r, critic_s):
            critic.requires_grad_(requires_grad=False)
        made_r, made_s = s2r(real_s), r2s(real_r)
        cycle = l1(r2s(made_r), real_s) + l1(s2r(made_s), real_r)
        descend(g_adam, ones(critic_r(made_r)) + ones(critic_s(made_s)) + o.lambda_cycle * cycle)
        for critic in (critic_r, critic_s):
            critic.requires_grad_(requires_grad=True)
        made_r, made_s = pool_r.swap(made_r.detach()), pool_s.swap(made_s.detach())
        descend(d_adam, judged(critic_r, real_r, made_r) + judged(critic_s, real_s, made_s))

    return step


def dp_critic(images: Tensor, labels: Tensor, o: wgan_gp.Settings, *, tuned: bool, capturable: bool = False) -> Step:
    device = images.device
    g, critic = (net.to(device) for net in wgan_gp.networks(o))
    if not tuned:  # torch's convolutions, where on 8 pixels privbench's are products with matrices
        for layer in (*critic.convolutions, *g.deconvolutions):
            layer.dense = False
    g_adam, d_adam = (adam([net], o.lr, wgan_gp.BETAS, tuned=tuned, capturable=capturable) for net in (g, critic))
    averaged, average = copy.deepcopy(g), get_ema_multi_avg_fn(o.average)

    def rows() -> Tensor:
        return torch.randint(len(images), (o.batch,), device=device)

    def noise(size: int, wide: int) -> Tensor:
        return torch.randn(size, wide, device=device)

    def step() -> None:
        for _ in range(o.n_critic):
            drawn = rows()
            real, y = images[drawn], labels[drawn]
            with torch.no_grad():
                fake = g(noise(o.batch, o.latent), y)
            maps, blur = critic.maps(), noise(2 * o.batch, o.code)
            on_real, on_fake = critic(torch.cat([real, fake]), torch.cat([y, y]), blur, maps).chunk(2)
            mix = torch.rand(o.batch, 1, 1, 1, device=device)
            between = (mix * fake + (1 - mix) * real).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between, y, None, maps).sum(), between, create_graph=True)
            penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
            descend(d_adam, on_fake.mean() - on_real.mean() + o.gp_weight * penalty)
        critic.requires_grad_(requires_grad=False)
        y = labels[rows()]
        descend(g_adam, -critic(g(noise(o.batch, o.latent), y), y).mean())
        critic.requires_grad_(requires_grad=True)
        average(list(averaged.parameters()), list(g.parameters()), 0)

    return step
