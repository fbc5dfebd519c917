import pytest
import torch

from privbench.learn.optimisers import Torch, adam, descend, sgd

RATES = [0.1, 0.03, 0.2, 0.05]


def parameters(device="cpu"):
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 3), (3,), (2, 3, 3, 3)]
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    made[2] = made[2].contiguous(memory_format=torch.channels_last)
    return [each.to(device).requires_grad_() for each in made]


def loss(weights, skip=False):
    values = [(weight.sin() * (k + 1)).sum() for k, weight in enumerate(weights)]
    return sum(values[1:] if skip else values)


CASES = [
    (sgd, lambda p: torch.optim.SGD(p, lr=1.0, fused=True)),
    (
        lambda p: sgd(p, momentum=0.9, weight_decay=5e-4),
        lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, weight_decay=5e-4, fused=True),
    ),
    (adam, lambda p: torch.optim.Adam(p, fused=True)),
    (lambda p: adam(p, betas=(0.0, 0.9)), lambda p: torch.optim.Adam(p, betas=(0.0, 0.9), fused=True)),
    (
        lambda p: adam(p, weight_decay=0.1, decoupled=True),
        lambda p: torch.optim.AdamW(p, weight_decay=0.1, fused=True),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), CASES)
@pytest.mark.parametrize("skipping", [False, True])
def test_they_equal_torch_s_bit_for_bit(ours, theirs, skipping):
    weights, wanted = parameters(), parameters()
    mine, torchs = ours(weights), theirs(wanted)
    for k, rate in enumerate(RATES):
        skip = skipping and k % 2 == 1  # a parameter without a gradient is left alone
        descend(mine, loss(weights, skip), rate)
        torchs.param_groups[0]["lr"] = rate
        torchs.zero_grad()
        loss(wanted, skip).backward()
        torchs.step()
    for one, other in zip(weights, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_rate_in_a_tensor_is_a_number(make):
    results = []
    for convert in (float, lambda rate: torch.tensor(rate, dtype=torch.float64)):
        weights = parameters()
        optimiser = make(weights)
        for rate in RATES:
            descend(optimiser, loss(weights), convert(rate))
        results.append([weight.tolist() for weight in weights])
    assert results[0] == results[1]


@pytest.mark.parametrize("make", [sgd, adam, lambda p: adam(p, decoupled=True)])
def test_other_devices_have_torch_s_own(make):
    weights = parameters("meta")
    optimiser = make(weights)
    assert isinstance(optimiser, Torch)
    descend(optimiser, loss(weights), 0.1)


def test_nothing_else_gets_a_gradient():
    weights, opponent = parameters(), torch.ones((), requires_grad=True)
    descend(sgd(weights), opponent * loss(weights), 0.1)
    assert opponent.grad is None
    assert all(weight.grad is None for weight in weights)


def test_without_any_gradient_nothing_changes():
    weights = parameters()
    before = [weight.tolist() for weight in weights]
    optimiser = adam(weights)
    optimiser.step([None] * len(weights), 0.1)
    assert [weight.tolist() for weight in weights] == before
