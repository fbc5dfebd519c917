import numpy as np
import pytest
import torch
from privbench_attacks.small_nets import Known, Stack, fit, log_odds, loss

from privbench.testing import one_by_one, taped


def drawn(seed, m=600, leak=1.0, groups=3):
    """Return rows of which the second column is `leak` higher for members, their groups, and membership."""
    rng = np.random.default_rng(seed)
    member, group = rng.random(m) < 0.5, rng.integers(0, groups, m)
    rows = rng.normal(0, 1, (m, 3))
    rows[:, 1] += leak * member
    return rows, group, member


def judged(known, asked, *, hidden=(8,), epochs=8, seed=0):
    return log_odds(Known(*known), *asked[:2], rng=np.random.default_rng(seed), hidden=hidden, epochs=epochs)


def balanced(scores, member):
    return ((scores[member] >= 0).mean() + (scores[~member] < 0).mean()) / 2


def test_every_layer_gets_a_gradient():
    generator = torch.Generator().manual_seed(0)
    net = Stack(2, (3, 8, 4), generator)
    rows, truth = torch.randn(40, 3, generator=generator), (torch.arange(40) % 2).float()
    loss(net, rows, truth, torch.arange(40).view(2, 20)).sum().backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    assert len(gradients) == 6
    for gradient in gradients:
        assert all(bool(each.abs().sum() > 0) for each in gradient)


def test_the_weights_of_the_best_epoch_are_kept():
    found = []
    for epochs in range(1, 25):
        generator = torch.Generator().manual_seed(0)
        net = Stack(1, (2, 16), generator)
        before = [parameter.detach().clone() for parameter in net.parameters()]
        rows = torch.randn(60, 2, generator=generator)
        truth = (torch.rand(60, generator=generator) < 0.5).float()  # nothing to learn: later epochs are worse
        held = torch.arange(40, 60)[None]
        fit(net, rows, truth, train=torch.arange(40)[None], held=held, generator=generator, epochs=epochs)
        assert not any(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        with torch.no_grad():
            found.append(float(loss(net, rows, truth, held)))
    assert found == sorted(found, reverse=True)
    assert len(set(found)) < 24


def test_a_shift_is_found():
    asked = drawn(1, leak=2.0)
    # Two Gaussians 2 apart: the best rule is right Phi(1) = 84 % of the time.
    assert balanced(judged(drawn(0, 2000, leak=2.0), asked), asked[2]) == pytest.approx(0.841, abs=0.04)


def test_nothing_is_found_in_noise():
    asked = drawn(1, 2000, leak=0.0)
    assert abs(balanced(judged(drawn(0, leak=0.0), asked), asked[2]) - 0.5) < 3 * 0.5 / 2000**0.5


def test_no_group_learns_from_another():
    rows, group, member = drawn(0)
    asked = drawn(1)
    other = np.where(group == 2, ~member, member)
    same = judged((rows, group, member), asked)
    found = judged((rows, group, other), asked)
    assert np.array_equal(same[asked[1] != 2], found[asked[1] != 2])
    assert not np.array_equal(same[asked[1] == 2], found[asked[1] == 2])


def test_a_group_of_which_nothing_is_known_answers_0():
    rows, group, member = drawn(0)
    asked = drawn(1, groups=4)
    scores = judged((rows, group, member | (group == 0)), asked)
    assert (scores[np.isin(asked[1], (0, 3))] == 0).all()
    assert (scores[np.isin(asked[1], (1, 2))] != 0).all()


def test_there_may_be_nothing_to_learn_from():
    rows, group, member = drawn(0)
    assert not judged((rows, group, member | True), drawn(1)).any()


def test_training_stays_where_its_rows_are():
    """On a device without memory: a CPU tensor that strays into it raises."""
    net, rows, groups = Stack(2, (3, 8), torch.Generator()).to("meta"), torch.empty(40, 3, device="meta"), (2, 20)
    train, held = (torch.zeros(groups, dtype=torch.int64, device="meta") for _ in range(2))
    fit(net, rows, rows[:, 0], train=train, held=held, generator=torch.Generator(), epochs=2)
    assert all(parameter.is_meta for parameter in net.parameters())


def test_replayed_steps_equal_steps(device):
    def trained():
        generator = torch.Generator().manual_seed(0)
        net = Stack(2, (3, 8), generator).to(device)
        rows, truth = (torch.randn(400, 3, generator=generator), torch.rand(400, generator=generator).round())
        train, held = torch.randperm(400, generator=generator).view(2, 200).to(device).split(150, dim=1)
        fit(net, rows.to(device), truth.to(device), train=train, held=held, generator=generator, epochs=5)
        return [parameter.tolist() for parameter in net.parameters()]

    with one_by_one():
        plain = trained()
    with taped(device) as tape:
        assert trained() == plain
    assert tape.replayed > 0
    assert not tape.refused


def test_answers_of_replayed_steps_are_those_of_steps():
    known, asked = drawn(0, 400), drawn(1, 60)
    plain = judged(known, asked, epochs=5)
    with taped() as tape:
        np.testing.assert_array_equal(judged(known, asked, epochs=5), plain)
    assert tape.replayed > 0
