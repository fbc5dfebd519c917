"""The losses and the step of CycleGAN, on points, and the history of images."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from privbench.builtin.generative.cycle_game import (
    Game,
    Swaps,
    capacity,
    critic_loss,
    draw_swaps,
    generator_loss,
    step,
    swap,
)
from privbench.learn.optimisers import adam, descend

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


def toy(seed=0, lambda_cycle=1.0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = [Mover(), Mover(), critic(), critic()]

    def players(*nets):
        return adam((p for net in nets for p in net.parameters()), betas=(0.5, 0.999))

    history = torch.zeros(2 * capacity(BATCH), 2)
    return Game(*modules, players(*modules[:2]), players(*modules[2:]), history, lambda_cycle=lambda_cycle, **options)


def domains(n, generator):
    safe, risky = torch.randn(2, n, 2, generator=generator)
    return safe - torch.tensor([GAP, 0.0]), risky + torch.tensor([GAP, 0.0])


def play(game, steps, take, lr=1e-3):
    """Return the mean of the last fifth of what `take` returns."""
    generator = torch.Generator().manual_seed(1)
    sums, first = torch.zeros(4), steps - steps // 5
    for at in range(steps):
        safe, risky = domains(BATCH, generator)
        swaps = Swaps(*(each[0] for each in draw_swaps(at, 1, BATCH, generator)))
        losses = torch.stack(list(take(game, safe, risky, swaps, lr)))
        if at >= first:
            sums += losses / (steps - first)
    return sums.tolist()


def moved(game):
    """Return the mean of the generated risky points."""
    safe, _ = domains(4000, torch.Generator().manual_seed(2))
    with torch.no_grad():
        return game.s2r(safe).mean(dim=0).tolist()


def equation_2(game, safe, risky, _swaps, lr):
    """Minimise the paper's eq. 2 and the cycle, over all four together, as it is printed."""
    made_r, made_s = game.s2r(safe), game.r2s(risky)
    adversarial = ((game.critic_r(made_r) - 1) ** 2).mean() + (game.critic_r(safe) ** 2).mean()
    adversarial = adversarial + ((game.critic_s(made_s) - 1) ** 2).mean() + (game.critic_s(risky) ** 2).mean()
    cycle = (game.r2s(made_r) - safe).abs().mean() + (game.s2r(made_s) - risky).abs().mean()
    parameters = [*game.generators.parameters, *game.critics.parameters]
    gradients = torch.autograd.grad(adversarial + game.lambda_cycle * cycle, parameters)
    game.generators.step(gradients[: len(game.generators.parameters)], lr)
    game.critics.step(gradients[len(game.generators.parameters) :], lr)
    return (adversarial.detach(), cycle.detach(), *[adversarial.detach()] * 2)


def test_lsgan_brings_points_to_the_other_domain_and_fools_the_critics():
    game = toy()
    assert moved(game)[0] == pytest.approx(-GAP, abs=0.5)
    adversarial, cycle, *critics = play(game, 800, step, 2e-3)
    assert moved(game) == pytest.approx([GAP, 0.0], abs=0.15)
    assert (adversarial, *critics) == pytest.approx((0.5, 0.25, 0.25), abs=0.02)
    assert cycle < 0.2


def test_equation_2_taken_literally_flees_from_the_target():
    game = toy(lambda_cycle=0.3)
    adversarial, *_ = play(game, 400, equation_2)
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


class Told(nn.Module):
    """A critic of points that is told their class, which it adds to the first coordinate."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x, labels):
        return self.scale * x[:, :1] + labels[:, 1:]


def test_critics_that_see_labels_get_those_of_the_images_and_generated_ones_keep_their_sources():
    game = dataclasses.replace(toy(), critic_r=Told(), critic_s=Told(), labels=torch.zeros(2 * capacity(2), 2))
    game.s2r, game.r2s = nn.Identity(), nn.Identity()
    safe, risky = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    labels = torch.eye(2)[[0, 1]], torch.eye(2)[[1, 1]]
    _, (adversarial, _), _, _ = generator_loss(game, safe, risky, labels)
    # s2r(S): 1 + 0 and 2 + 1 against 1; r2s(R): 3 + 1 and 4 + 1 against 1.
    assert adversarial.item() == (0 + 4) / 2 + (9 + 16) / 2
    # Real risky ones, 4 and 5, against 1; made of safe ones, 1 and 3, against 0.
    assert critic_loss(game.critic_r, risky, safe, (labels[1], labels[0])).item() == ((9 + 16) / 2 + (1 + 9) / 2) / 2


def test_the_history_keeps_the_labels_of_its_images():
    size = capacity(2)
    game = dataclasses.replace(toy(), critic_r=Told(), critic_s=Told(), labels=torch.zeros(2 * size, 2))
    game.s2r, game.r2s = Mover(), Mover()
    game.critics = adam([game.critic_r.scale, game.critic_s.scale])
    game.generators = adam([*game.s2r.parameters(), *game.r2s.parameters()])
    game.history = torch.zeros(2 * size, 2)
    labels = torch.eye(2)[[0, 1]], torch.eye(2)[[1, 1]]
    swaps = Swaps(torch.tensor([0, 1, size, size + 1]), torch.tensor([True] * 4), torch.tensor([False] * 4))
    safe, risky = domains(2, torch.Generator().manual_seed(0))
    step(game, safe, risky, swaps, 1e-3, labels=labels)
    assert game.labels[[0, 1, size, size + 1]].tolist() == torch.cat(labels).tolist()
    shown = Swaps(torch.tensor([0, 1, size, size + 1]), torch.tensor([False] * 4), torch.tensor([True] * 4))
    step(game, safe, risky, shown, 1e-3, labels=(labels[1], labels[0]))
    assert game.labels[[0, 1, size, size + 1]].tolist() == torch.cat(labels).tolist()


def test_identities_have_no_cycle_loss():
    game = toy(lambda_cycle=10.0)
    game.s2r, game.r2s = nn.Identity(), nn.Identity()
    total, (adversarial, cycle), _, _ = generator_loss(game, *domains(16, torch.Generator().manual_seed(3)))
    assert cycle == 0
    assert total == adversarial


def test_each_side_changes_its_own_weights_alone():
    game = toy()
    sides = [game.generators.parameters, game.critics.parameters]
    generator = torch.Generator().manual_seed(1)
    for still, moving in (sides, sides[::-1]):
        before = [[weight.clone() for weight in side] for side in (still, moving)]
        safe, risky = domains(8, generator)
        loss = generator_loss(game, safe, risky)[0] if moving is sides[0] else critic_loss(game.critic_r, safe, risky)
        descend(game.generators if moving is sides[0] else game.critics, loss, 1e-3)
        assert all(map(torch.equal, before[0], still))
        assert not all(map(torch.equal, before[1], moving))


def numbers(start, n):
    return torch.arange(start, start + n, dtype=torch.float32)[:, None]


@pytest.mark.parametrize("batch", [1, 16, 50, 60])
def test_images_are_stored_and_shown_until_the_history_is_full(batch):
    size, history = capacity(batch), torch.full((2 * capacity(batch), 1), -1.0)
    assert size % batch == 0
    assert 50 <= size < 50 + batch
    first = draw_swaps(0, size // batch, batch, torch.Generator().manual_seed(0))
    for at, row in enumerate(zip(*first, strict=True)):
        images = torch.cat([numbers(at * batch, batch), numbers(1000 + at * batch, batch)])
        assert torch.equal(swap(history, images, Swaps(*row)), images)
    assert history[:, 0].tolist() == [*range(size), *range(1000, 1000 + size)]


def test_a_swap_by_hand():
    history = numbers(0, 6)
    swaps = Swaps(torch.tensor([2, 0, 5, 3]), *[torch.tensor([True, False, True, False])] * 2)
    assert swap(history, numbers(100, 4), swaps)[:, 0].tolist() == [2, 101, 5, 103]
    assert history[:, 0].tolist() == [0, 1, 100, 3, 4, 102]


def test_the_history_loses_and_doubles_nothing_mixes_no_domains_and_shows_half_from_the_past():
    batch, steps = 16, 400
    size, shown, fresh = capacity(batch), [], 0
    history = torch.zeros(2 * size, 1)
    for at, row in enumerate(zip(*draw_swaps(0, steps, batch, torch.Generator().manual_seed(0)), strict=True)):
        images = torch.cat([numbers(at * batch, batch), -1 - numbers(at * batch, batch)])
        back = swap(history, images, Swaps(*row))
        assert (back[:batch] >= 0).all()
        assert (back[batch:] < 0).all()
        shown += back[:batch, 0].tolist() if at >= size // batch else []
        fresh += int(torch.isin(back[:batch], images).sum()) if at >= size // batch else 0
    assert len(set(shown)) == len(shown)  # each image leaves the history once
    missing = set(range(steps * batch)) - set(map(int, shown))
    assert len(missing) == size
    assert fresh / len(shown) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(shown)))
