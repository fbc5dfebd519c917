import math

import numpy as np
import pytest
import torch
from privbench_defenses.hamp import Hamp, high_entropy_loss, label_confidence, label_entropy
from scipy.stats import entropy

from privbench.api import Blueprint, Context, Examples, Recipe
from privbench.errors import BadOption
from privbench.learn import predict
from privbench.testing import build, parametrize_with_checks, toy_task


@parametrize_with_checks(["defense:hamp", "defense:hamp:gamma=0.95,alpha=0.1"])
def test_contract(check):
    check()


@pytest.mark.parametrize(("classes", "gamma", "expected"), [(100, 0.5, 0.641), (100, 0.95, 0.133), (10, 0.95, 0.270)])
def test_label_confidence_has_the_values_of_the_closed_form(classes, gamma, expected):
    assert label_confidence(classes, gamma) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_soft_label_has_just_the_entropy_asked_for(classes, gamma):
    q = label_confidence(classes, gamma)
    soft = [q, *[(1 - q) / (classes - 1)] * (classes - 1)]
    assert entropy(soft) == pytest.approx(gamma * math.log(classes), abs=1e-9)
    assert label_entropy(classes, q) == pytest.approx(entropy(soft), abs=1e-9)
    assert label_entropy(classes, q) >= gamma * math.log(classes)
    assert q >= 1 / classes


def test_loss_by_hand():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 0.3]], dtype=torch.float64)
    soft = torch.tensor([[0.6, 0.2, 0.2], [0.0, 1.0, 0.0]], dtype=torch.float64)
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    want = np.mean([entropy(t, q) - 0.3 * entropy(q) for t, q in zip(soft.numpy(), p, strict=True)])
    assert high_entropy_loss(logits, soft, alpha=0.3).item() == pytest.approx(want, rel=1e-12)


def test_the_authors_alpha_is_this_one_divided_by_the_classes():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 100, generator=generator, dtype=torch.float64)
    soft = torch.softmax(torch.randn(6, 100, generator=generator, dtype=torch.float64), dim=1)
    log_p = torch.log_softmax(logits, dim=1)
    with pytest.warns(UserWarning, match="reduction"):  # torch's own word on what the authors' code does
        theirs = torch.nn.functional.kl_div(log_p, soft) + 0.005 * (log_p.exp() * log_p).sum(dim=1).mean()
    torch.testing.assert_close(100 * theirs, high_entropy_loss(logits, soft, alpha=0.5))


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_without_a_reward_for_entropy_the_soft_labels_are_learnt(alpha):
    soft = torch.tensor([[0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)
    logits = soft.log().requires_grad_()
    (gradient,) = torch.autograd.grad(high_entropy_loss(logits, soft, alpha=alpha), logits)
    if alpha == 0:
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    else:  # the way to more entropy is down in the label's confidence
        assert gradient[0, 0] > 0
        assert (gradient[0, 1:] < 0).all()


def released(some, options=None, epochs=6):
    x, y, shape, network = some
    blueprint = Blueprint("some", Recipe(epochs=epochs, batch_size=16), shape, 3, network)
    examples, ctx, hamp = Examples(x, y), Context(seed=2), build(Hamp, options or {})
    release = hamp.fit(blueprint, examples, ctx)
    return release, hamp.filter(blueprint, release.model, examples, ctx)


def data(kind):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    if kind == "images":
        task = toy_task()
        x = np.clip(rng.normal(90 * y[:, None, None, None], 40, (90, 8, 8, 1)), 0, 255).astype(np.uint8)
        return x, y, (1, 8, 8), lambda: task.network((1, 8, 8), 3)
    x = rng.normal(y[:, None], 0.5, (90, 4)).astype(np.float32)
    return x, y, (4,), lambda: toy_task().network((4,), 3)


@pytest.mark.parametrize("kind", ["images", "tables"])
def test_the_filter_keeps_the_order_of_classes_on_every_query(kind):
    x, y, *_ = data(kind)
    release, model = released(data(kind))
    bare, answers = predict(release.model, x, device="cpu"), predict(model, x, device="cpu")
    np.testing.assert_array_equal(np.argsort(-answers, kind="stable"), np.argsort(-bare, kind="stable"))
    assert (answers.argmax(axis=1) == bare.argmax(axis=1)).all()
    assert (bare.argmax(axis=1) == y).mean() > 0.6
    assert release.facts["label_confidence"] == label_confidence(3, 0.5)
    np.testing.assert_allclose(np.exp(answers).sum(axis=1), 1, rtol=1e-5)


def test_training_for_entropy_makes_less_of_confidence():
    x = data("images")[0]
    confident, _ = released(data("images"), {"gamma": 0.0, "alpha": 0.0}, epochs=20)
    modest, _ = released(data("images"), {"gamma": 0.8}, epochs=20)
    largest = [
        torch.softmax(torch.from_numpy(predict(each.model, x, device="cpu")), 1).amax(1).mean()
        for each in (confident, modest)
    ]
    assert largest[0] > 0.9
    assert largest[1] < label_confidence(3, 0.8) + 0.05


def test_what_is_out_of_range_is_refused():
    with pytest.raises(BadOption, match="gamma"):
        build(Hamp, {"gamma": 1.0})
