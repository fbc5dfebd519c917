"""The losses and the step of CycleGAN, on points, and the history pool."""

import numpy as np
import pytest
import torch
from torch import nn

from privbench.generative.cycle_game import Game, Pool, critic_loss, generator_loss, step

GAP = 2.0
BATCH = 128


class Mover(nn.Module):
    """A residual generator of points."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x):
        return x + self.body(x)


def critic():
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def toy(seed=0, lambda_cycle=1.0, lr=1e-3, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = [Mover(), Mover(), critic(), critic()]

    def adam(*players):
        return torch.optim.Adam([p for m in players for p in m.parameters()], lr=lr, betas=(0.5, 0.999), fused=True)

    return Game(*modules, adam(*modules[:2]), adam(*modules[2:]), lambda_cycle=lambda_cycle, **options)


def domains(n, generator):
    safe, risky = torch.randn(2, n, 2, generator=generator)
    return safe - torch.tensor([GAP, 0.0]), risky + torch.tensor([GAP, 0.0])


def play(game, steps, take):
    """Return the mean of the last fifth of what `take` returns."""
    generator = torch.Generator().manual_seed(1)
    sums, first = torch.zeros(3), steps - steps // 5
    for at in range(steps):
        safe, risky = domains(BATCH, generator)
        coins = torch.rand(2, BATCH, generator=generator) < 0.5
        orders = torch.rand(2, game.made_r.capacity(BATCH), generator=generator).argsort(dim=1)
        losses = torch.stack(list(take(game, safe, risky, coins, orders)))
        if at >= first:
            sums += losses / (steps - first)
    return sums.tolist()


def moved(game):
    """Return the mean of the generated risky points."""
    safe, _ = domains(4000, torch.Generator().manual_seed(2))
    with torch.no_grad():
        return game.s2r(safe).mean(dim=0).tolist()


def equation_2(game, safe, risky, coins, orders):
    """Minimise the paper's eq. 2 and the cycle, over all four together, as it is printed."""
    made_r, made_s = game.s2r(safe), game.r2s(risky)
    adversarial = ((game.critic_r(made_r) - 1) ** 2).mean() + (game.critic_r(safe) ** 2).mean()
    adversarial = adversarial + ((game.critic_s(made_s) - 1) ** 2).mean() + (game.critic_s(risky) ** 2).mean()
    cycle = (game.r2s(made_r) - safe).abs().mean() + (game.s2r(made_s) - risky).abs().mean()
    for optimiser in (game.generators, game.critics):
        optimiser.zero_grad()
    (adversarial + game.lambda_cycle * cycle).backward()
    for optimiser in (game.generators, game.critics):
        optimiser.step()
    return adversarial.detach(), cycle.detach(), adversarial.detach()


def test_lsgan_brings_points_to_the_other_domain_and_fools_the_critics():
    game = toy(lr=2e-3)
    assert moved(game)[0] == pytest.approx(-GAP, abs=0.5)
    adversarial, cycle, critics = play(game, 800, step)
    assert moved(game) == pytest.approx([GAP, 0.0], abs=0.15)
    assert (adversarial, critics) == pytest.approx((0.5, 0.5), abs=0.02)
    assert cycle < 0.2


def test_equation_2_taken_literally_flees_from_the_target():
    game = toy(lambda_cycle=0.3)
    adversarial, _, _ = play(game, 400, equation_2)
    assert adversarial < 0.2
    assert moved(game)[0] < -GAP - 1


def test_losses_are_those_of_the_formulas():
    game = toy(lambda_cycle=3.0, identity=0.5)
    game.s2r, game.r2s = nn.Linear(2, 2), nn.Linear(2, 2)
    safe, risky = domains(16, torch.Generator().manual_seed(3))
    total, (adversarial, cycle), made_r, made_s = generator_loss(game, safe, risky)
    assert torch.equal(made_r, game.s2r(safe))
    assert torch.equal(made_s, game.r2s(risky))
    want = ((game.critic_r(made_r) - 1) ** 2).mean() + ((game.critic_s(made_s) - 1) ** 2).mean()
    around = (game.r2s(made_r) - safe).abs().mean() + (game.s2r(made_s) - risky).abs().mean()
    same = (game.s2r(risky) - risky).abs().mean() + (game.r2s(safe) - safe).abs().mean()
    torch.testing.assert_close((adversarial, cycle), (want, around))
    torch.testing.assert_close(total, want + 3.0 * (around + 0.5 * same))
    half = ((game.critic_r(risky) - 1) ** 2).mean() / 2 + (game.critic_r(made_r) ** 2).mean() / 2
    torch.testing.assert_close(critic_loss(game.critic_r, risky, made_r), half)


def test_identities_have_no_cycle_loss():
    game = toy(lambda_cycle=10.0)
    game.s2r, game.r2s = nn.Identity(), nn.Identity()
    total, (adversarial, cycle), _, _ = generator_loss(game, *domains(16, torch.Generator().manual_seed(3)))
    assert cycle == 0
    assert total == adversarial


def test_critics_leave_generators_alone_and_generators_critics():
    game = toy()
    before = {name: [p.clone() for p in getattr(game, name).parameters()] for name in ("s2r", "r2s")}
    for group in game.generators.param_groups:
        group["lr"] = 0.0
    generator = torch.Generator().manual_seed(1)
    orders = torch.rand(2, 50, generator=generator).argsort(dim=1)
    critics = [p.clone() for p in game.critic_r.parameters()]
    step(game, *domains(8, generator), torch.zeros(2, 8, dtype=torch.bool), orders)
    for name, values in before.items():
        assert all(map(torch.equal, values, getattr(game, name).parameters()))
    assert not all(map(torch.equal, critics, game.critic_r.parameters()))


def numbers(start, n):
    return torch.arange(start, start + n, dtype=torch.float32)[:, None]


def test_the_pool_returns_what_it_stores_until_it_is_full():
    pool = Pool(10)
    assert pool.capacity(4) == 12
    for batch in range(3):
        images = numbers(4 * batch, 4)
        assert torch.equal(pool.swap(images, torch.ones(4, dtype=torch.bool), torch.arange(12)), images)
    older = pool.swap(numbers(100, 4), torch.tensor([True, False, True, False]), torch.tensor([7, 1, 0, 3, *range(8)]))
    assert older[:, 0].tolist() == [7, 101, 0, 103]
    again = pool.swap(numbers(200, 4), torch.ones(4, dtype=torch.bool), torch.tensor([7, 1, 0, 3, *range(8)]))
    assert again[:, 0].tolist() == [100, 1, 102, 3]


def test_the_pool_loses_and_doubles_nothing_and_returns_half_from_the_past():
    pool, generator, batch = Pool(50), torch.Generator().manual_seed(0), 16
    capacity, shown, fresh = pool.capacity(batch), [], 0
    for at in range(400):
        images = numbers(at * batch, batch)
        coins = torch.rand(batch, generator=generator) < 0.5
        back = pool.swap(images, coins, torch.rand(capacity, generator=generator).argsort())
        shown += back[:, 0].tolist() if at >= capacity // batch else []
        fresh += int(torch.isin(back, images).sum()) if at >= capacity // batch else 0
    assert len(set(shown)) == len(shown)  # each image leaves the pool once
    missing = set(range(400 * batch)) - set(map(int, shown))
    assert len(missing) == capacity
    assert fresh / len(shown) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(shown)))
