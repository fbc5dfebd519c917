import numpy as np
import pytest
import torch
from privbench_defenses.guarded import OwnAttack
from privbench_defenses.noise_search import DISTORTION_WEIGHTS, attack_and_gradient, objective, search, walk
from torch.nn import functional

CPU = torch.device("cpu")


def attack(classes=4, hidden=(8, 6), seed=0):
    """An attack of random weights that takes half of typical queries for members; in doubles.

    Its border lies midway between two queries: at one, where |attack| has a kink, the last bit would choose a slope.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = OwnAttack(classes, hidden)
    made = made.double().requires_grad_(requires_grad=False)
    typical = made(functional.softmax(logits(n=100, classes=classes), dim=1).sort(dim=1, descending=True).values)
    made.layers[-1].bias -= typical.quantile(0.5)
    made.layers[-1].weight.mul_(8), made.layers[-1].bias.mul_(8)
    return made


def weights(made):
    return made.weights(torch.float64, CPU)


def linear(slope=4.0, middle=0.8, classes=4):
    """An attack that says 1/2 where the largest confidence is `middle`."""
    return [(torch.tensor([[slope, *[0.0] * (classes - 1)]]).double(), torch.tensor([-slope * middle]).double())]


def logits(n=30, classes=4, scale=3.0, seed=0):
    return scale * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def goal(z, start, made, label, weight):
    """What a walk descends, for one query, with autograd's gradient (Jia et al. 2019, algorithm 1)."""
    p = functional.softmax(z, dim=0)
    rival = torch.cat([z[:label], z[label + 1 :]]).max()
    surety = made(p.sort(descending=True).values[None])[0]
    return surety.abs() + 10 * functional.relu(rival - z[label]) + weight * (p - start).abs().sum()


@pytest.mark.parametrize("weight", [0.1, 10.0])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_the_gradient_is_autograds(hidden, weight):
    made, z, moved = attack(hidden=hidden), logits(), logits(seed=1)
    start, labels = functional.softmax(moved, dim=1), torch.arange(30) % 4  # often not the largest
    gradient, surety, holds = objective(z, start, weights(made), labels, weight=weight)
    assert surety.abs().min() > 1e-6, "a query lies at the kink, where there is no gradient to compare"
    for row in range(0, 30, 6):
        one = z[row].clone().requires_grad_()
        (want,) = torch.autograd.grad(goal(one, start[row], made, int(labels[row]), weight), one)
        torch.testing.assert_close(gradient[row], want)
        assert holds[row] == (z[row].argmax() == labels[row])
    p = functional.softmax(z, dim=1)
    torch.testing.assert_close(surety, made(p.sort(dim=1, descending=True).values))


def test_the_attack_sees_confidences_in_order_and_its_gradient_comes_back_unsorted():
    made, p = attack(), functional.softmax(logits(), dim=1)
    surety, gradient = attack_and_gradient(p, weights(made))
    shuffled = torch.tensor([2, 0, 3, 1])
    again, moved = attack_and_gradient(p[:, shuffled], weights(made))
    torch.testing.assert_close(again, surety)
    torch.testing.assert_close(moved, gradient[:, shuffled])


def slowly(z0, made, label, max_steps, patience):
    """The whole search for one query, with autograd and plain Python."""
    start = functional.softmax(z0, dim=0)
    surety = float(made(start.sort(descending=True).values[None])[0])
    best, nearest = z0, float("inf")
    if abs(1 / (1 + np.exp(-surety)) - 0.5) <= 1e-5:
        return best, nearest
    for weight in DISTORTION_WEIGHTS:
        z, lowest, idle = z0.clone(), float("inf"), 0
        for _ in range(max_steps + 1):
            now = float(made(functional.softmax(z, dim=0).sort(descending=True).values[None])[0])
            if now * surety <= 0 and int(z.argmax()) == label:
                break
            idle = 0 if abs(now) < lowest else idle + 1
            lowest = min(lowest, abs(now))
            if idle > patience:
                return best, nearest
            one = z.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(goal(one, start, made, label, weight), one)
            z = z - 0.1 * gradient / max(float(gradient.norm()), 1e-300)
        else:
            return best, nearest
        distance = float((functional.softmax(z, dim=0) - start).abs().sum())
        if distance < nearest:
            best, nearest = z, distance
    return best, nearest


@pytest.mark.parametrize("patience", [60, 5])
def test_equals_a_search_one_query_at_a_time(patience):
    made, z = attack(), logits(n=8)
    labels = z.argmax(dim=1)
    got, distance, helps = search(z, weights(made), labels, max_steps=60, patience=patience)
    assert 0.3 < helps.double().mean() <= 1
    for row in range(8):
        want, how_far = slowly(z[row], made, int(labels[row]), 60, patience)
        torch.testing.assert_close(got[row], want, rtol=1e-8, atol=1e-8)
        assert float(distance[row]) == pytest.approx(how_far, rel=1e-6)


def test_against_a_threshold_the_largest_confidence_goes_to_the_threshold():
    z = logits(n=100)
    largest = functional.softmax(z, dim=1).amax(dim=1)
    noisy, distance, helps = search(z, linear(), z.argmax(dim=1), max_steps=300, patience=300)
    p = functional.softmax(noisy, dim=1)
    assert helps[(largest - 0.8).abs() > 0.06].all()  # nearer, a step may lead farther beyond
    assert (noisy.argmax(dim=1) == z.argmax(dim=1)).all()
    crossed = (p.amax(dim=1) <= 0.8) == (largest > 0.8)
    assert crossed.all()
    torch.testing.assert_close(p.amax(dim=1), torch.full_like(largest, 0.8), rtol=0, atol=0.06)  # one step beyond
    torch.testing.assert_close(distance, (p - functional.softmax(z, dim=1)).abs().sum(dim=1))


def test_what_is_undecided_or_out_of_reach_stays_as_it_is():
    z = logits(n=5)
    for layers in (linear(slope=0.0), [(torch.zeros(1, 4).double(), torch.ones(1).double())]):
        noisy, distance, helps = search(z, layers, z.argmax(dim=1), max_steps=20, patience=20)
        assert torch.equal(noisy, z)
        assert not helps.any()
        assert distance.isinf().all()


def test_a_crossing_that_costs_the_label_does_not_count():
    """With two classes the largest confidence cannot be 0.4: the walk ends at the border, and goes home."""
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
    layers = linear(middle=0.4, classes=2)
    arrived, ends = walk(z, layers, z.argmax(dim=1), weight=0.1, max_steps=100, patience=100)
    assert not arrived.any()
    assert ends.shape == (0, 2)
    noisy, _, helps = search(z, layers, z.argmax(dim=1), max_steps=100, patience=100)
    assert torch.equal(noisy, z)
    assert not helps.any()


def test_heavier_distortion_is_never_taken_for_a_farther_arrival():
    made, z = attack(), logits(n=40)
    labels, start = z.argmax(dim=1), functional.softmax(z, dim=1)
    arrived, ends = walk(z, weights(made), labels, weight=0.1, max_steps=100, patience=100)
    _, distance, _ = search(z, weights(made), labels, max_steps=100, patience=100)
    first = (functional.softmax(ends, dim=1) - start[arrived]).abs().sum(dim=1)
    undecided = distance[arrived].isinf()  # these did not have to walk
    assert (undecided | (distance[arrived] <= first)).all()
    assert undecided.sum() < 5


def test_rows_do_not_depend_on_each_other():
    made, z = attack(), logits(n=40)
    labels = z.argmax(dim=1)
    together, _, _ = search(z, weights(made), labels, max_steps=100, patience=20)
    for rows in (slice(0, 1), slice(3, 9), slice(39, 40)):
        alone, _, _ = search(z[rows], weights(made), labels[rows], max_steps=100, patience=20)
        torch.testing.assert_close(alone, together[rows], rtol=1e-9, atol=1e-9)


def test_no_queries_no_noise():
    noisy, distance, helps = search(logits(n=0), linear(), torch.empty(0, dtype=torch.int64), max_steps=9, patience=9)
    assert (noisy.shape, distance.shape, helps.shape) == ((0, 4), (0,), (0,))
