"""The losses of CycleGAN and one step of its training, for any four modules (Zhu et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from privbench.learn import descend

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.learn import Optimiser

POOL = 50


class Losses(NamedTuple):
    """What one step reports, detached scalars: each the sum over both directions.

    Where neither side wins, the LSGAN equilibrium, the adversarial and the critics' loss are both 1/2.
    """

    adversarial: Tensor
    cycle: Tensor
    critics: Tensor


class Swaps(NamedTuple):
    """What a step does with the history, for a batch of b images made by each of the two generators."""

    slots: Tensor
    """(2 b,) int64: of each image in the history, all different."""
    stored: Tensor
    """(2 b,) bool: whether the image is put there."""
    shown: Tensor
    """(2 b,) bool: whether the critic is shown what was there."""


def swap(history: Tensor, images: Tensor, swaps: Swaps) -> Tensor:
    """Return images (2 b, ...), some of them older, and keep some in the history (n, ...), in place."""
    around = (-1, *(1 for _ in images.shape[1:]))
    stored, shown = swaps.stored.view(around), swaps.shown.view(around)
    older = history.index_select(0, swaps.slots)
    history.index_copy_(0, swaps.slots, torch.where(stored, images, older))
    return torch.where(shown, older, images)


def capacity(batch: int) -> int:
    """Return how many images of one generator the history keeps: at least POOL, in whole batches."""
    return math.ceil(POOL / batch) * batch


def draw_swaps(first: int, steps: int, batch: int, generator: torch.Generator) -> Swaps:
    """Draw what some steps, counted from 0 and beginning with `first`, do with the history: a row for each step.

    Generated images of earlier steps keep a critic from forgetting them (Shrivastava et al. 2017). The first ones are
    stored and shown, until the history is full. From then on each image is, at a coin's toss, shown as it is, or
    stored in place of one drawn at random, which is shown.
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
    """Four modules and their optimisers. Critics score 1 for real: critic_r knows risky images, critic_s safe ones."""

    s2r: nn.Module
    r2s: nn.Module
    critic_r: nn.Module
    critic_s: nn.Module
    generators: Optimiser
    critics: Optimiser
    history: Tensor
    """(2 capacity, ...): risky images made from safe ones, then safe ones made from risky ones."""
    lambda_cycle: float
    identity: float = 0.0


def generator_loss(game: Game, safe: Tensor, risky: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, Tensor]:
    """Return the generators' loss, its adversarial and cycle part, and what they made: risky from safe, and reverse.

    E (D_r(s2r(S)) - 1)^2 + E (D_s(r2s(R)) - 1)^2
        + lambda (|r2s(s2r(S)) - S| + |s2r(r2s(R)) - R|)
        + identity lambda (|s2r(R) - R| + |r2s(S) - S|)          |.|: mean over everything
    """
    # This is LSGAN, and not eq. 2 of the paper, a misprint: that never shows a critic an image of the target domain,
    # so that nothing ties what a generator makes to it; minimised jointly, it drives both away from their sources, and
    # on the 2-D toy away from the target too.
    made_r, made_s = game.s2r(safe), game.r2s(risky)
    adversarial = _square(game.critic_r(made_r), 1.0) + _square(game.critic_s(made_s), 1.0)
    cycle = _l1(game.r2s(made_r), safe) + _l1(game.s2r(made_s), risky)
    total = adversarial + game.lambda_cycle * cycle
    if game.identity:
        same = _l1(game.s2r(risky), risky) + _l1(game.r2s(safe), safe)
        total = total + game.identity * game.lambda_cycle * same
    return total, (adversarial, cycle), made_r, made_s


def critic_loss(critic: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    """Return E (D(real) - 1)^2 / 2 + E D(made)^2 / 2, both in one pass: no layer may mix the images of a batch."""
    on_real, on_made = critic(torch.cat([real, made])).split([len(real), len(made)])
    return (_square(on_real, 1.0) + _square(on_made, 0.0)) / 2


def step(game: Game, safe: Tensor, risky: Tensor, swaps: Swaps, rate: float | Tensor) -> Losses:
    """Take one step of the generators, then one of the critics on images that include older ones; return the losses.

    safe, risky: batches (b, ...) of one size; rate: the learning rate.
    """
    loss, (adversarial, cycle), made_r, made_s = generator_loss(game, safe, risky)
    descend(game.generators, loss, rate)
    made_r, made_s = swap(game.history, torch.cat([made_r.detach(), made_s.detach()]), swaps).split(len(safe))
    critics = critic_loss(game.critic_r, risky, made_r) + critic_loss(game.critic_s, safe, made_s)
    descend(game.critics, critics, rate)
    return Losses(adversarial.detach(), cycle.detach(), critics.detach())


def _square(scores: Tensor, target: float) -> Tensor:
    return (scores - target).square().mean()


def _l1(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().mean()
