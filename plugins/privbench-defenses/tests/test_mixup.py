import numpy as np
import pytest
import torch
from privbench_defenses.mixup import draw, mixed_loss
from torch import nn
from torch.nn import functional

from privbench.api import Recipe
from privbench.learn import optimizer, step


def batch(n=6):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(n, 1, 4, 4, generator=generator, dtype=torch.float64).float()
    return inputs, torch.arange(n) % 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_it_is_cross_entropy_with_mixed_inputs_and_mixed_labels(weight):
    (inputs, labels), model, partners = batch(), net(), torch.tensor([3, 0, 5, 1, 2, 4])
    soft, rows = (
        functional.one_hot(labels, 3).float(),
        [inputs[i] * weight + inputs[j] * (1 - weight) for i, j in enumerate(partners)],
    )
    soft = torch.stack([soft[i] * weight + soft[j] * (1 - weight) for i, j in enumerate(partners)])
    want = functional.cross_entropy(model(torch.stack(rows)), soft)
    torch.testing.assert_close(mixed_loss(model, inputs, labels, weight, 1 - weight, partners), want)


def test_a_partner_of_ones_own_is_cross_entropy():
    (inputs, labels), model = batch(), net()
    want = functional.cross_entropy(model(inputs), labels)
    torch.testing.assert_close(mixed_loss(model, inputs, labels, 0.4, 0.6, torch.arange(6)), want)


def test_images_stay_in_the_layout_that_convolutions_like():
    inputs, labels = torch.rand(8, 3, 5, 5).to(memory_format=torch.channels_last), torch.zeros(8).long()
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return x.mean(dim=(2, 3))

    mixed_loss(Watch(), inputs, labels, 0.5, 0.5, torch.arange(8).flip(0))
    assert seen == [True]


def test_draws_come_from_the_generator_and_are_new_each_time():
    weights, rest, orders = draw([50, 50, 40], 1.0, np.random.default_rng(1))
    torch.testing.assert_close(weights + rest, torch.ones(3))
    assert len(set(weights.tolist())) == 3
    assert not torch.equal(orders[0], orders[1])
    for order, size in zip(orders, [50, 50, 40], strict=True):
        assert sorted(order[:size].tolist()) == list(range(size))
    again = draw([50], 1.0, np.random.default_rng(1))
    assert again[0][0] == weights[0]
    assert torch.equal(again[2][0], orders[0])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_weights_are_beta(alpha):
    weights = draw([1] * 4000, alpha, np.random.default_rng(0))[0].double().numpy()
    variance = 1 / (4 * (2 * alpha + 1))
    assert np.mean(weights) == pytest.approx(0.5, abs=5 * (variance / 4000) ** 0.5)
    assert np.var(weights) == pytest.approx(variance, rel=0.1)


def test_a_step_stays_on_its_device():
    meta = torch.device("meta")
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, device=meta))

    def objective(model, inputs, labels, _epoch):
        return mixed_loss(model, inputs, labels, 0.5, 0.5, torch.arange(6).to(meta))

    optimiser = optimizer(model, Recipe())
    inputs, labels = (tensor.to(meta) for tensor in batch())
    assert step(model, optimiser, inputs, labels, 0.1, objective=objective).device == meta
