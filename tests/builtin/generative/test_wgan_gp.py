import dataclasses

import numpy as np
import pytest
import torch

from privbench.api import Context
from privbench.builtin.generative.wgan_gp import (
    CHUNK,
    Batch,
    Settings,
    critic_loss,
    draws,
    gan_of,
    gradient_penalty,
    maker,
    networks,
    one_hot,
    sample,
    step,
    train,
)
from privbench.data.dataset import Examples
from privbench.errors import Diverged
from privbench.testing.tape import one_by_one, taped

TINY = Settings(
    sigma=1.5,
    clip=1.0,
    code=6,
    gp_weight=10.0,
    n_critic=2,
    steps=3,
    width=4,
    batch=5,
    lr=1e-3,
    latent=3,
    average=0.5,
    shape=(1, 8, 8),
    classes=3,
    side=8,
)


def settings(**changed):
    return dataclasses.replace(TINY, **changed)


def nets(seed=0, **changed):
    torch.manual_seed(seed)
    return networks(settings(**changed))


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(n=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, n, 1, 8, 8, generator=generator) * 2 - 1
    labels = one_hot(torch.randint(3, (n,), generator=generator), 3)
    return images[0], images[1], labels, torch.rand(n, generator=generator)


def first_step(chunk):
    return Batch(*(part[0] for part in chunk if part is not None))


def members(n=12, seed=0, classes=3):
    x = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    return Examples(x, np.arange(n) % classes)


def test_penalty_of_a_linear_critic_is_its_distance_from_slope_1():
    w = torch.linspace(-1, 2, 64, dtype=torch.float64)
    real, fake, labels, mix = (each.double() for each in batch())
    penalty = gradient_penalty(lambda x, y: x.flatten(1) @ w, real, fake, labels, mix)
    assert penalty.item() == pytest.approx((w.norm().item() - 1) ** 2, rel=1e-12)


def test_penalty_looks_between_at_the_labels_of_the_real_rows():
    real, fake, labels, mix = batch()
    mix[0], mix[1] = 0, 1
    seen = []

    def critic(x, y):
        seen.append((x.detach(), y))
        return x.flatten(1).sum(dim=1)

    gradient_penalty(critic, real, fake, labels, mix)
    ((between, given),) = seen
    assert given is labels
    torch.testing.assert_close(between[0], real[0])
    torch.testing.assert_close(between[1], fake[1])
    torch.testing.assert_close(between, real + mix.view(-1, 1, 1, 1) * (fake - real))


def test_linear_critic_in_one_dimension_reaches_the_optimum_of_methods():
    gap, weight, slope = 3.0, 10.0, torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    fake = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    optimiser = torch.optim.SGD([slope], lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        values = slope * (fake + gap), slope * fake
        penalty = gradient_penalty(lambda x, y: slope * x[:, 0], fake + gap, fake, fake, torch.rand(9).double())
        (values[1].mean() - values[0].mean() + weight * penalty).backward()
        optimiser.step()
    assert slope.item() == pytest.approx(1 + gap / (2 * weight), abs=1e-6)  # 1.15
    assert (slope * gap).item() == pytest.approx(3.45, abs=1e-5)


def test_loss_is_the_papers_with_noise_of_its_own_for_real_and_fake():
    _, critic = nets()
    real, fake, labels, mix = batch()
    noise = torch.randn(10, 6)
    got = critic_loss(critic, real, fake, labels, mix, noise=noise, gp_weight=10.0)
    gap = critic(fake, labels, noise[5:]).mean() - critic(real, labels, noise[:5]).mean()
    between = torch.lerp(real, fake, mix.view(-1, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, labels, torch.randn(5, 6)).sum(), between)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    assert got.item() == pytest.approx((gap + 10 * penalty).item(), rel=1e-5)


def test_penalty_reaches_every_weight_through_the_double_backward():
    _, critic = nets()
    real, fake, labels, mix = batch()
    critic_loss(critic, real, fake, labels, mix, noise=None, gp_weight=1.0).backward()
    both = [weight.grad.clone() for weight in critic.parameters()]
    critic.zero_grad()
    critic_loss(critic, real, fake, labels, mix, noise=None, gp_weight=0.0).backward()
    changed = [(a != weight.grad).any().item() for a, weight in zip(both, critic.parameters(), strict=True)]
    assert all(torch.isfinite(each).all() for each in both)
    names = [name for name, _ in critic.named_parameters()]
    assert {name for name, moved in zip(names, changed, strict=True) if not moved} <= {"head.bias"}


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (32, 3), (64, 3)])
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_a_step_touches_nothing_outside_its_tensors(side, channels, sigma):
    chosen = settings(side=side, shape=(channels, side, side), sigma=sigma)
    with torch.device("meta"):
        gan = gan_of(*networks(chosen), chosen.lr)
    drawn = first_step(next(draws(12, chosen, torch.Generator())))
    images, labels = torch.empty(12, channels, side, side, device="meta"), torch.empty(12, 3, device="meta")
    total = step(gan, images, labels, Batch(*(part.to("meta") for part in drawn if part is not None)), 10.0)
    assert total.device.type == "meta"
    assert total.shape == ()


def test_a_step_moves_both_nets_and_leaves_no_gradient_of_one_in_the_other():
    gan = gan_of(*nets(), 1e-2)
    before = [[weight.clone() for weight in net.parameters()] for net in gan[:2]]
    images, labels = torch.rand(12, 1, 8, 8), one_hot(torch.arange(12) % 3, 3)
    step(gan, images, labels, first_step(next(draws(12, TINY, torch.Generator().manual_seed(0)))), 10.0)
    for net, old in zip(gan[:2], before, strict=True):
        moved = [(weight != was).any().item() for weight, was in zip(net.parameters(), old, strict=True)]
        assert all(moved) or [n for (n, _), m in zip(net.named_parameters(), moved, strict=True) if not m] == [
            "head.bias"
        ]


def test_draws_are_as_many_as_steps_and_independent():
    chunks = list(draws(7, settings(steps=CHUNK + 1), torch.Generator().manual_seed(0)))
    assert [len(each.rows) for each in chunks] == [CHUNK, 1]
    assert all(each.rows.shape[1:] == (3, 5) and each.noise.shape[1:] == (2, 10, 6) for each in chunks)
    assert all(each.rows.min() >= 0 and each.rows.max() < 7 for each in chunks)
    values = torch.cat([each.noise.flatten() for each in chunks])
    assert len(values.unique()) > 0.99 * len(values)  # none is shared by real and fake, or by two steps


def test_training_is_decided_by_the_seed_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (maker(members(), TINY)(Context(seed)) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_samples_are_uint8_one_for_each_label():
    generator = train(members(), TINY, Context())
    assert not generator.training
    x = sample(generator, np.array([2, 0, 0]), (1, 8, 8), torch.Generator().manual_seed(0), "cpu")
    assert x.shape == (3, 8, 8, 1)
    assert x.dtype == np.uint8
    assert (x[1] != x[2]).any()
    assert sample(generator, np.zeros(0, np.int64), (1, 8, 8), torch.Generator(), "cpu").shape == (0, 8, 8, 1)


def test_divergence_is_said_in_one_line():
    with pytest.raises(Diverged, match="gan_lr"):
        train(members(), settings(lr=1e38), Context())


def test_progress_goes_up():
    seen = []
    train(members(), settings(steps=20), Context(report=lambda done, stage: seen.append(done)))
    assert seen == sorted(seen)
    assert seen
    assert max(seen) <= 1


@pytest.mark.parametrize(("clip", "steps"), [(1.0, 150), (float("inf"), 60)])
def test_the_generator_learns_what_a_label_means(clip, steps):
    x = np.zeros((40, 8, 8, 1), np.uint8)
    y = np.arange(40) % 2
    x[y == 1] = 255
    chosen = settings(steps=steps, width=8, code=16, batch=16, lr=1e-2, classes=2, sigma=0.0, clip=clip, average=0.9)
    generator = train(Examples(x, y), chosen, Context())
    made = sample(generator, y, (1, 8, 8), torch.Generator().manual_seed(0), "cpu").mean(axis=(1, 2, 3))
    assert made[y == 1].min() > made[y == 0].max() + 60


def test_no_batch_norm_in_the_critic():
    assert not [each for each in nets()[1].modules() if "BatchNorm" in type(each).__name__]


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ((1, 8, 8), {}),
        ((3, 8, 8), {"sigma": 0.0}),
        ((1, 8, 8), {"clip": float("inf")}),
        ((1, 8, 8), {"sigma": 0.0, "clip": float("inf")}),
        ((1, 8, 8), {"n_critic": 1, "average": 0.0}),
        ((1, 8, 8), {"average": 0.95, "steps": CHUNK + 3}),
        ((1, 28, 28), {}),
        ((3, 32, 32), {"sigma": 0.0}),
    ],
)
def test_replayed_steps_equal_steps(shape, changed, device):
    side = 8 if shape[1] == 8 else 32
    chosen = settings(**{"steps": 8, "shape": shape, "side": side} | changed)
    x = np.random.default_rng(0).integers(0, 256, (12, *shape[1:], shape[0]), dtype=np.uint8)
    make = maker(Examples(x, np.arange(12) % 3), chosen)
    with one_by_one():
        plain = make(Context(device=device))
    with taped(device) as tape:
        replayed = make(Context(device=device))
    assert tape.replayed > 1
    for name, values in plain.items():
        np.testing.assert_array_equal(replayed[name], values)
