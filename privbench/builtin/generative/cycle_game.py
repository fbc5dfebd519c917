"""CycleGAN's losses and training step, for any four modules (Zhu et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

from privbench.learn import descend

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.learn import Optimiser

Labels: TypeAlias = "tuple[Tensor, Tensor] | None"

POOL = 50


class Losses(NamedTuple):
    """The losses of one step, detached scalars.

    At the LSGAN equilibrium the adversarial loss is 1/2, 1/4 for each generator, and the loss of each critic is 1/4.
    """

    adversarial: Tensor
    """Of both generators."""
    cycle: Tensor
    """Of both ways around."""
    critic_r: Tensor
    critic_s: Tensor


class Swaps(NamedTuple):
    """The use of the history in a step, for a batch of b images from each of the two generators."""

    slots: Tensor
    """(2 b,) int64: position in the history for each image, all different."""
    stored: Tensor
    """(2 b,) bool: whether the image is stored there."""
    shown: Tensor
    """(2 b,) bool: whether the critic sees the image stored there before."""


def swap(history: Tensor, images: Tensor, swaps: Swaps) -> Tensor:
    """Return images (2 b, ...), some of them from earlier steps, and update the history (n, ...) in place."""
    around = (-1, *(1 for _ in images.shape[1:]))
    stored, shown = swaps.stored.view(around), swaps.shown.view(around)
    older = history.index_select(0, swaps.slots)
    history.index_copy_(0, swaps.slots, torch.where(stored, images, older))
    return torch.where(shown, older, images)


def capacity(batch: int) -> int:
    """Return the number of images of one generator in the history: at least POOL, in whole batches."""
    return math.ceil(POOL / batch) * batch


def draw_swaps(first: int, steps: int, batch: int, generator: torch.Generator) -> Swaps:
    """Draw the use of the history for some steps, from step `first`, counted from 0: a row for each step.

    Generated images of earlier steps keep a critic from forgetting them (Shrivastava et al. 2017). The first ones are
    stored and shown, until the history is full. From then on each image, with probability 1/2, is shown itself, or
    replaces a random stored image, which is shown instead.
    """
    size = capacity(batch)
    coins = torch.rand(steps, 2, batch, generator=generator) < 1 / 2
    slots = torch.rand(steps, 2, size, generator=generator).argsort(dim=2)[..., :batch]
    filling = torch.arange(first, first + steps)[:, None, None] * batch
    full = filling >= size
    slots = torch.where(full, slots, filling + torch.arange(batch)) + torch.tensor([[0], [size]])
    return Swaps(*(each.flatten(1) for each in (slots, coins | ~full, coins & full)))


@dataclass
class Game:
    """Four modules and their optimisers. Critics score 1 for real: critic_r risky images, critic_s safe ones."""

    s2r: nn.Module
    r2s: nn.Module
    critic_r: nn.Module
    critic_s: nn.Module
    generators: Optimiser
    critics: Optimiser
    history: Tensor
    """(2 capacity, ...): risky images generated from safe ones, then safe ones from risky ones."""
    lambda_cycle: float
    identity: float = 0.0
    labels: Tensor | None = None
    """(2 capacity, classes): the one-hot labels of the history, if the critics see labels."""


def generator_loss(
    game: Game, safe: Tensor, risky: Tensor, labels: Labels = None
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, Tensor]:
    """Return the generators' loss, its adversarial and cycle part, and the images: risky from safe, and reverse.

    E (D_r(s2r(S)) - 1)^2 + E (D_s(r2s(R)) - 1)^2
        + lambda (|r2s(s2r(S)) - S| + |s2r(r2s(R)) - R|)
        + identity lambda (|s2r(R) - R| + |r2s(S) - S|)          |.|: mean over everything

    labels: of the safe and of the risky images, if the critics see labels; a generated image has that of its source
    """
    # This is LSGAN, not eq. 2 of the paper, a misprint: that never shows a critic an image of the target domain,
    # so that nothing ties a generator's output to it; minimised jointly, it drives both away from their sources, and
    # on a 2-D toy problem also away from the target.
    made_r, made_s = game.s2r(safe), game.r2s(risky)
    of_safe, of_risky = ((), ()) if labels is None else ((each,) for each in labels)
    adversarial = _square(game.critic_r(made_r, *of_safe), 1.0) + _square(game.critic_s(made_s, *of_risky), 1.0)
    cycle = _l1(game.r2s(made_r), safe) + _l1(game.s2r(made_s), risky)
    total = adversarial + game.lambda_cycle * cycle
    if game.identity:
        same = _l1(game.s2r(risky), risky) + _l1(game.r2s(safe), safe)
        total = total + game.identity * game.lambda_cycle * same
    return total, (adversarial, cycle), made_r, made_s


def critic_loss(critic: nn.Module, real: Tensor, made: Tensor, labels: Labels = None) -> Tensor:
    """Return E (D(real) - 1)^2 / 2 + E D(made)^2 / 2, both in one pass: no layer may mix the images of a batch.

    labels: of the real and of the made images, if the critic sees labels
    """
    seen = () if labels is None else (torch.cat(labels),)
    on_real, on_made = critic(torch.cat([real, made]), *seen).split([len(real), len(made)])
    return (_square(on_real, 1.0) + _square(on_made, 0.0)) / 2


def step(
    game: Game, safe: Tensor, risky: Tensor, swaps: Swaps, rate: float | Tensor, *, labels: Labels = None
) -> Losses:
    """Take one step of the generators, then one of the critics on images that include older ones; return the losses.

    safe, risky: batches (b, ...) of equal size
    rate: the learning rate
    labels: one-hot (b, classes) of both batches, if the critics see labels
    """
    loss, (adversarial, cycle), made_r, made_s = generator_loss(game, safe, risky, labels)
    descend(game.generators, loss, rate)
    made_r, made_s = swap(game.history, torch.cat([made_r.detach(), made_s.detach()]), swaps).split(len(safe))
    for_r = for_s = None
    if labels is not None:
        assert game.labels is not None
        of_made_r, of_made_s = swap(game.labels, torch.cat(labels), swaps).split(len(safe))
        for_r, for_s = (labels[1], of_made_r), (labels[0], of_made_s)
    critic_r = critic_loss(game.critic_r, risky, made_r, for_r)
    critic_s = critic_loss(game.critic_s, safe, made_s, for_s)
    descend(game.critics, critic_r + critic_s, rate)
    return Losses(adversarial.detach(), cycle.detach(), critic_r.detach(), critic_s.detach())


def _square(scores: Tensor, target: float) -> Tensor:
    return (scores - target).square().mean()


def _l1(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().mean()
