"""The private training loop: plain SGD in its limit, clipping, copies, empty samples, and what it refuses."""

import copy
import math
import warnings

import pytest
import torch
from privbench_dp import autoencoders
from privbench_dp.gradients import per_example_gradients
from privbench_dp.mechanism import draw_noise
from privbench_dp.sgd import fit_privately, private_step
from torch import nn
from torch.nn import functional

from privbench.api import Context
from privbench.errors import BadOption, DataError, Diverged
from privbench.learn import Dropout
from privbench.testing import one_by_one, taped

PLAIN = {"noise": 0.0, "clip": math.inf, "rate": 1.0, "steps": 5, "lr": 0.3, "momentum": 0.0}


def per_example(logits, labels):
    return functional.cross_entropy(logits, labels, reduction="none")


def squared(outputs, targets):
    return (outputs - targets).square().flatten(1).mean(dim=1)


def product(outputs, _targets):
    return outputs[:, 0]


def small_net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def line():
    """Return x -> w x, whose gradient is x, from w = 0."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    return net


def data(n=40):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=generator), torch.randint(3, (n,), generator=generator)


def fitted(net, inputs, targets, loss=per_example, *, seed=0, device="cpu", **options):
    return fit_privately(net, inputs, targets, loss, Context(seed, device=device), **{**PLAIN, **options})


def weights(net):
    return torch.cat([parameter.detach().cpu().flatten() for parameter in net.parameters()])


def test_without_noise_and_bound_it_is_full_batch_sgd():
    x, y = data()
    plain, private = small_net(), fitted(small_net(), x, y, momentum=0.9)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.3, momentum=0.9)
    for _ in range(PLAIN["steps"]):
        optimiser.zero_grad()
        functional.cross_entropy(plain(x), y).backward()
        optimiser.step()
    assert torch.allclose(weights(plain), weights(private), atol=1e-6)
    assert not torch.allclose(weights(plain), weights(small_net()), atol=1e-2)
    assert not private.training
    assert all(parameter.grad is None and not hasattr(parameter, "grad_sample") for parameter in private.parameters())


@pytest.mark.filterwarnings("ignore:Secure RNG turned off:UserWarning")  # the engine's own word; there is no noise
@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_opacus_own_engine_takes_the_same_steps():
    from opacus import PrivacyEngine

    x, y = data()
    net = small_net()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3)
    wrapped, optimiser, loader = PrivacyEngine().make_private(
        module=net,
        optimizer=optimiser,
        data_loader=loader,
        noise_multiplier=0.0,
        max_grad_norm=0.4,
        poisson_sampling=False,
    )
    for _ in range(PLAIN["steps"]):
        for inputs, labels in loader:
            optimiser.zero_grad()
            functional.cross_entropy(wrapped(inputs), labels).backward()
            optimiser.step()
    assert torch.allclose(weights(net), weights(fitted(small_net(), x, y, clip=0.4)), atol=1e-5)
    assert not torch.allclose(weights(net), weights(fitted(small_net(), x, y, clip=4.0)), atol=1e-3)


def test_a_large_sample_is_worked_on_in_parts(monkeypatch):
    x, y = data(700)
    whole = fitted(small_net(), x, y, clip=0.3, steps=2)
    monkeypatch.setattr("privbench_dp.samples.GRADIENTS", 4 * 83 * 10)
    assert torch.allclose(weights(whole), weights(fitted(small_net(), x, y, clip=0.3, steps=2)), atol=1e-6)


def test_one_example_moves_a_step_by_its_bound_and_no_more():
    x, y = data()
    x[0] *= 1e4
    with_it = fitted(small_net(), x, y, clip=0.5, steps=1, lr=1.0)
    # The step divides by the expected size of the sample, which is public: here that of all 40.
    rest = fitted(small_net(), x[1:], y[1:], clip=0.5, steps=1, lr=39 / 40)
    assert float((weights(with_it) - weights(rest)).norm()) == pytest.approx(0.5 / 40, rel=1e-3)


def test_gradients_of_copies_are_averaged_before_they_are_clipped():
    class Both:
        def draw(self, n, generator):
            assert generator.device.type == "cpu"
            signs = torch.ones(n, 1)
            signs[1::2] = -1 / 3  # 3 and -1: their mean is 1; clipped to 1 and -1 first it would be 0
            return signs

        def __call__(self, inputs, rows, signs):
            return inputs[rows] * signs

    x, nothing = torch.full((4, 1), 3.0), torch.zeros(4)
    net = fitted(line(), x, nothing, product, clip=1.0, steps=1, lr=1.0, copies=2, alter=Both())
    assert weights(net).item() == pytest.approx(-1.0)
    net = fitted(line(), 0.1 * x, nothing, product, clip=1.0, steps=1, lr=1.0, copies=2, alter=Both())
    assert weights(net).item() == pytest.approx(-0.1)


def test_an_empty_sample_is_a_step_of_noise():
    x, y = data()
    net = fitted(small_net(), x, y, rate=1e-9, noise=1.0, clip=1e-9, steps=3, momentum=0.0)
    moved = weights(net) - weights(small_net())
    drawn = [draw_noise(list(net.parameters()), 1e-9, generator) for generator in [Context(0).generator("noise")] * 3]
    noise = sum(torch.cat(list(map(torch.flatten, step))) for step in drawn)
    assert torch.allclose(moved, -0.3 * noise / (1e-9 * len(x)), rtol=1e-3, atol=1e-4)


def test_the_learning_rate_moves_once_per_logical_step(monkeypatch):
    monkeypatch.setattr("privbench_dp.samples.MOST", 1)  # ten parts to a step
    net = fitted(line(), torch.ones(10, 1), torch.zeros(10), product, clip=9.0, steps=4, lr=1.0, schedule="cosine")
    assert weights(net).item() == pytest.approx(
        -sum((1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)), rel=1e-5
    )


def test_the_average_of_weights_lags_behind_them():
    options = {"clip": 9.0, "steps": 30, "lr": 1.0}
    net = fitted(line(), torch.ones(5, 1), torch.zeros(5), product, ema=0.5, **options)
    average, weight = 0.0, 0.0
    for step in range(30):
        weight -= 1.0
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert weights(net).item() == pytest.approx(average, rel=1e-5)
    assert -30 < average < -28


def test_the_same_seed_gives_the_same_bits_and_no_global_generator_moves():
    x, y = data()
    options = {"noise": 1.0, "clip": 1.0, "rate": 0.3, "steps": 6}
    net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    before = torch.random.get_rng_state()
    first, again, other = (weights(fitted(copy.deepcopy(net), x, y, seed=seed, **options)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_and_adam_and_frozen_parameters():
    images = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    net[0].weight.requires_grad_(False)
    before = copy.deepcopy(net)
    fitted(net, images, torch.arange(20) % 2, optimizer="adam", lr=0.01, clip=1.0, noise=0.5, rate=0.5)
    assert torch.equal(net[0].weight, before[0].weight)
    assert not torch.equal(net[0].bias, before[0].bias)
    assert not torch.equal(net[2].weight, before[2].weight)


def test_an_autoencoder_with_a_loss_of_two_terms():
    x, _ = data()

    def loss(outputs, targets):
        return (outputs - targets).square().mean(dim=1) + 0.1 * outputs.abs().mean(dim=1)

    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6))
    before = float(loss(net(x), x).detach().mean())
    fitted(net, x, x, loss, clip=1.0, steps=60, lr=0.5, momentum=0.9)
    assert float(loss(net(x), x).detach().mean()) < 0.8 * before


def test_a_step_runs_where_no_stray_tensor_of_the_cpu_could():
    net = small_net().to("meta")
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    noise = [torch.empty(parameter.numel(), device="meta") for parameter in net.parameters()]
    x, y = torch.empty(8, 6, device="meta"), torch.empty(8, dtype=torch.int64, device="meta")
    counts = torch.empty(8, device="meta")
    with per_example_gradients(net) as wrapped:
        for copies in (1, 2):
            total = private_step(
                wrapped,
                optimiser,
                [(x, y, counts[::copies])] * 2,
                noise,
                loss=per_example,
                clip=1.0,
                expected=4.0,
                copies=copies,
            )
            assert total.device.type == "meta"


class Noisy:
    """Adds noise of its own."""

    def draw(self, n, generator):
        return torch.randn(n, 6, generator=generator)

    def __call__(self, inputs, rows, drawn):
        return inputs.index_select(0, rows) + drawn


def both_ways(trained, device):
    """Return the weights by steps, and by replays, of a training on filled samples."""
    with one_by_one(as_recorded=True):
        plain = weights(trained())
    with taped(device) as tape:
        replayed = weights(trained())
    assert tape.replayed > 0
    assert not tape.refused
    return plain, replayed


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "schedule": "cosine"},
        {"copies": 3, "alter": Noisy(), "ema": 0.9},
        {"schedule": "cosine", "ema": 0.99, "rate": 0.01},
    ],
)
def test_replayed_steps_equal_steps_of_the_same_samples(options, device):
    common = {"noise": 1.0, "clip": 1.0, "rate": 0.3, "steps": 90, "lr": 0.1, "momentum": 0.9}

    def trained():
        with Context(0).seeded("init"):
            net = nn.Sequential(nn.Linear(6, 8), Dropout(0.2), nn.GroupNorm(2, 8), nn.Linear(8, 3))
        return fitted(net, *data(), device=device, **{**common, **options})

    assert torch.equal(*both_ways(trained, device))


@pytest.mark.parametrize("vae", [True, False])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 16, 16)])
def test_replayed_steps_of_autoencoders_equal_steps(shape, vae, device):
    x = torch.rand(30, *shape, generator=torch.Generator().manual_seed(0))
    options = {"noise": 1.0, "clip": 1.0, "rate": 0.3, "steps": 70, "optimizer": "adam", "lr": 0.01}

    def trained():
        with Context(0).seeded("init"):
            if vae:
                net = autoencoders.Vae(shape, 6, 2)
            else:
                net = nn.Sequential(autoencoders.encoder(shape, 8, 5), autoencoders.decoder(shape, 8, 5))
        return fitted(net, x, x, autoencoders.bernoulli_loss if vae else squared, device=device, **options)

    assert torch.equal(*both_ways(trained, device))


def test_convolutions_are_replayed_in_parts(monkeypatch, device):
    monkeypatch.setattr("privbench_dp.samples.CARD_MOST", 3)
    images = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def trained():
        with Context(0).seeded("init"):
            net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
        options = {"clip": 1.0, "noise": 0.5, "rate": 0.5, "steps": 70}
        return fitted(net, images, torch.arange(20) % 2, device=device, **options)

    assert torch.equal(*both_ways(trained, device))


def test_filled_samples_are_those_that_were_drawn():
    x, y = data()
    options = {"noise": 0.5, "clip": 1.0, "rate": 0.3, "steps": 40, "momentum": 0.9}
    plain = weights(fitted(small_net(), x, y, **options))
    with one_by_one(as_recorded=True):
        assert torch.allclose(weights(fitted(small_net(), x, y, **options)), plain, atol=1e-5)


def test_very_large_samples_are_not_recorded_and_that_is_said(monkeypatch):
    monkeypatch.setattr("privbench_dp.samples.UNROLLED", 0)
    with taped() as tape:
        fitted(small_net(), *data(), steps=6)
    assert tape.recorded == 0
    assert "many parts" in tape.refused[0]


def test_progress_ends_at_one():
    x, y = data()
    seen = []
    ctx = Context(0, report=lambda done, _stage: seen.append(done))
    fit_privately(small_net(), x, y, per_example, ctx, **PLAIN)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_what_leaves_the_finite_numbers_has_diverged():
    x, y = data()
    with pytest.raises(Diverged, match="lower learning rate"):
        fitted(small_net(), x * 1e30, y, lr=1e30)
    with pytest.raises(Diverged, match="lower learning rate"):
        fitted(small_net(), x, y, lr=1e38, noise=1e3, clip=1.0, steps=20)


def test_statistics_of_private_batches_are_refused():
    x, y = data()

    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(6))

        def forward(self, x):
            self.seen += x.sum(dim=0)
            return x

    class Scales(nn.Linear):
        def __init__(self):
            super().__init__(6, 3)
            self.register_buffer("scale", torch.ones(1))

    with pytest.raises(BadOption, match="buffers"):
        fitted(nn.Sequential(Remembers(), nn.Linear(6, 3)), x, y)
    with pytest.raises(BadOption, match="the model's Scales has no gradients per example"):
        fitted(Scales(), x, y)
    for affine in (True, False):
        net = nn.Sequential(nn.BatchNorm1d(6, affine=affine, track_running_stats=False), nn.Linear(6, 3))
        with pytest.raises(BadOption, match="BatchNorm"):
            fitted(net, x, y)


def test_a_layer_without_gradients_per_example_is_refused():
    class Folded(nn.Module):
        """Sees the whole batch as one row."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 2)

        def forward(self, x):
            return self.layer(x.reshape(1, 12)).expand(2, 2)

    with pytest.raises(BadOption, match="no gradients per example"):
        fitted(Folded(), torch.ones(2, 6), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "options",
    [{"noise": -1.0}, {"noise": math.nan}, {"noise": 1.0}, {"clip": 0.0}, {"rate": 0.0}, {"rate": 1.1}, {"steps": 0}],
)
def test_impossible_options_are_refused(options):
    x, y = data()
    with pytest.raises(BadOption, match=next(iter(options))):
        fitted(small_net(), x, y, **options)


def test_no_examples_and_a_mean_loss_are_refused():
    x, y = data()
    with pytest.raises(DataError, match="no examples"):
        fitted(small_net(), x[:0], y[:0])
    with pytest.raises(ValueError, match="one number for each of"):
        fitted(small_net(), x, y, functional.cross_entropy)


def test_no_warning_filter_is_left_behind():
    before = list(warnings.filters)
    fitted(small_net(), *data())
    assert warnings.filters == before
