import numpy as np
import pytest
from privbench_defenses.memguard import MemGuard

from privbench.api import Blueprint, Context, Examples, Recipe
from privbench.errors import BadOption, DataError
from privbench.learn import predict, train
from privbench.testing import build, parametrize_with_checks, toy_task


@parametrize_with_checks(["defense:memguard", "defense:label-smoothing+memguard:budget=0.5,hidden=8"])
def test_contract(check):
    check()


def made(x, y, shape, **options):
    """Return a trained model, and the same guarded."""
    network = toy_task().network
    blueprint = Blueprint("some", Recipe(epochs=8, batch_size=16), shape, 3, lambda: network(shape, 3))
    half = len(x) // 2
    ctx = Context(seed=4, validation=Examples(x[half:], y[half:]))
    members = Examples(x[:half], y[:half])
    model = train(blueprint, members, ctx)
    guard = build(MemGuard, {"attack_steps": 200, **options})
    return model, guard.filter(blueprint, model, members, ctx)


def data(kind):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    if kind == "images":
        x = np.clip(rng.normal(60 + 60 * y[:, None, None, None], 90, (120, 4, 4, 1)), 0, 255)
        return x.astype(np.uint8), y, (1, 4, 4)
    return rng.normal(y[:, None], 1.5, (120, 4)).astype(np.float32), y, (4,)


@pytest.mark.parametrize("kind", ["images", "tables"])
def test_no_label_changes_and_the_defenders_own_attack_is_fooled(kind):
    x, y, shape = data(kind)
    model, guarded = made(x, y, shape, budget=2.0)
    bare, answers = predict(model, x, device="cpu"), predict(guarded, x, device="cpu")
    np.testing.assert_array_equal(answers.argmax(axis=1), bare.argmax(axis=1))
    assert np.isfinite(answers).all()
    moved = np.abs(np.exp(answers) - np.exp(bare) / np.exp(bare).sum(axis=1, keepdims=True)).sum(axis=1)
    assert (moved > 1e-3).mean() > 0.5
    surety = [_surety(guarded, logits) for logits in (bare, answers)]
    assert np.median(surety[1]) < 0.5 * np.median(surety[0])


def _surety(guarded, logits):
    import torch
    from privbench_defenses.guarded import sorted_confidences

    falling = sorted_confidences(torch.from_numpy(logits))
    return np.abs(guarded.attack(falling).sigmoid().numpy() - 0.5)


def test_without_examples_outside_the_pool_it_says_what_is_missing():
    x, y, shape = data("tables")
    blueprint = Blueprint("some", Recipe(epochs=1), shape, 3, lambda: toy_task().network(shape, 3))
    members = Examples(x, y)
    model = train(blueprint, members, Context())
    with pytest.raises(DataError, match="validation"):
        MemGuard().filter(blueprint, model, members, Context())


@pytest.mark.parametrize("options", [{"budget": 2.5}, {"hidden": (8, 0)}])
def test_what_is_out_of_range_is_refused(options):
    with pytest.raises(BadOption, match=next(iter(options))):
        build(MemGuard, options)
