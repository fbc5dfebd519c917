"""The losses of CycleGAN and one step of its training, for any four modules (Zhu et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

POOL = 50


class Losses(NamedTuple):
    """What one step reports, detached scalars: each the sum over both directions.

    Where neither side wins, the LSGAN equilibrium, the adversarial and the critics' loss are both 1/2.
    """

    adversarial: Tensor
    cycle: Tensor
    critics: Tensor


class Pool:
    """Generated images of earlier steps, which keep a critic from forgetting them (Shrivastava et al. 2017).

    The first `size` images, in whole batches, are stored and returned. From then on each image is, at a coin's toss,
    returned as it is, or stored in place of one drawn at random, which is returned. The slots of a batch are distinct.
    """

    def __init__(self, size: int = POOL) -> None:
        self.size = size
        self._filling: list[Tensor] = []
        self._images: Tensor | None = None

    def swap(self, images: Tensor, coins: Tensor, order: Tensor) -> Tensor:
        """Return images (b, ...) of the same shape, detached, some of them older.

        coins: (b,) bool; order: (capacity(b),) a permutation of the slots, of which the first b are taken.
        """
        images = images.detach()
        if self._images is None:
            self._filling.append(images)
            if sum(map(len, self._filling)) >= self.size:
                self._images = torch.cat(self._filling)
                self._filling.clear()
            return images
        slots = order[: len(images)]
        coins = coins.view(-1, *(1 for _ in images.shape[1:]))
        older = self._images.index_select(0, slots)
        self._images.index_copy_(0, slots, torch.where(coins, images, older))
        return torch.where(coins, older, images)

    def capacity(self, batch: int) -> int:
        """Return how many images are stored at last: `size`, rounded up to whole batches."""
        return math.ceil(self.size / batch) * batch


@dataclass
class Game:
    """Four modules and their optimisers. Critics score 1 for real: critic_r knows risky images, critic_s safe ones."""

    s2r: nn.Module
    r2s: nn.Module
    critic_r: nn.Module
    critic_s: nn.Module
    generators: torch.optim.Optimizer
    critics: torch.optim.Optimizer
    lambda_cycle: float
    identity: float = 0.0
    made_r: Pool = field(default_factory=Pool)
    """Risky images made from safe ones."""
    made_s: Pool = field(default_factory=Pool)


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
    on_real, on_made = critic(torch.cat([real, made.detach()])).split([len(real), len(made)])
    return (_square(on_real, 1.0) + _square(on_made, 0.0)) / 2


def step(game: Game, safe: Tensor, risky: Tensor, coins: Tensor, orders: Tensor) -> Losses:
    """Take one step of the generators, then one of the critics on images that include older ones; return the losses.

    safe, risky: batches (b, ...) of one size; coins: (2, b) bool and orders: (2, capacity) int64 for the two pools.
    """
    loss, (adversarial, cycle), made_r, made_s = generator_loss(game, safe, risky)
    _descend(game.generators, loss)
    made_r = game.made_r.swap(made_r, coins[0], orders[0])
    made_s = game.made_s.swap(made_s, coins[1], orders[1])
    critics = critic_loss(game.critic_r, risky, made_r) + critic_loss(game.critic_s, safe, made_s)
    _descend(game.critics, critics)
    return Losses(adversarial.detach(), cycle.detach(), critics.detach())


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """Step along the gradient of the optimiser's own parameters alone: none is computed for the opponents'."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimiser.step()


def _square(scores: Tensor, target: float) -> Tensor:
    return (scores - target).square().mean()


def _l1(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().mean()
