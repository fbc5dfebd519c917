"""DP-SGD as a defense: its options, its facts, the released model, and the search for the noise."""

import math

import numpy as np
import pytest
import torch
from privbench_dp.accounting import epsilon
from privbench_dp.dp_sgd import DPSGD
from torch import nn

from privbench.api import Blueprint, Context, Examples, Recipe
from privbench.errors import BadOption, CellFailed, DataError
from privbench.learn import predict
from privbench.testing import build, parametrize_with_checks, toy_task

SHORT = {"rate": 1.0, "epochs": 30, "lr": 0.3}


@parametrize_with_checks(["defense:dp-sgd:epochs=3,rate=1", "defense:dp-sgd:noise=1,epochs=2,rate=0.5"])
def test_contract(check):
    check()


@pytest.fixture(scope="module")
def toy():
    task = toy_task(noise=30)
    dataset = task.load()
    blueprint = Blueprint("toy", task.recipe, dataset.shape, 3, build=lambda: task.network(dataset.shape, 3))
    return blueprint, dataset


def release(toy, *, seed=0, recipe=None, **options):
    blueprint, dataset = toy
    if recipe is not None:
        blueprint = Blueprint("toy", recipe, blueprint.shape, 3, blueprint.build)
    ctx = Context(seed, validation=dataset.role("validation"))
    return build(DPSGD, {**SHORT, **options}).fit(blueprint, dataset.role("pool"), ctx)


def accuracy(released, examples):
    return float((predict(released.model, examples.x, device="cpu").argmax(axis=1) == examples.y).mean())


def flat(released):
    return torch.cat([tensor.flatten() for tensor in released.model.state_dict().values()])


def test_one_of_three_decides_the_noise():
    for given in ({"epsilon": 1, "noise": 1}, {"noise": 0, "accuracy": 0.5}, {"epsilon": 1, "accuracy": 0.5}):
        with pytest.raises(BadOption, match="each decide the noise"):
            build(DPSGD, given)
    with pytest.raises(BadOption, match="clip"):
        build(DPSGD, {"clip": math.inf})
    build(DPSGD, {"clip": math.inf, "noise": 0})


def test_the_facts_are_what_epsilon_follows_from(toy):
    for options, target in (({}, 8.0), ({"epsilon": 2.0}, 2.0)):
        facts = release(toy, **options, epochs=4).facts
        assert target * 0.99 <= facts["epsilon"] <= target
        assert facts["epsilon"] == epsilon(facts["noise"], facts["sampling_rate"], int(facts["steps"]), facts["delta"])
        assert (facts["clip"], facts["delta"], facts["steps"]) == (1.0, 1e-5, 4)
        assert "searched" not in facts


def test_no_noise_no_privacy(toy):
    released = release(toy, noise=0)
    assert released.facts["epsilon"] == math.inf
    assert release(toy, epsilon=math.inf, epochs=1).facts["noise"] == 0
    assert accuracy(released, toy[1].role("test")) > 0.9


def test_less_epsilon_costs_accuracy(toy):
    test = toy[1].role("test")
    assert accuracy(release(toy, epsilon=100.0), test) > accuracy(release(toy, epsilon=0.05), test) + 0.2


def test_the_released_model_normalises_in_groups(toy):
    empty = DPSGD().empty(toy[0])
    assert any(isinstance(module, nn.GroupNorm) for module in empty.modules())
    assert not any(isinstance(module, nn.BatchNorm1d) for module in empty.modules())


def test_inputs_are_standardised_by_public_examples(toy):
    blueprint, dataset = toy
    pool, public = dataset.role("pool"), dataset.role("validation").x / 255
    model = release(toy, noise=1.0, epochs=1).model
    assert float(model.mean) == pytest.approx(public.mean())
    assert float(model.std) == pytest.approx(public.std())
    fixed = DPSGD(noise=1.0, epochs=1).fit(blueprint, pool, Context(0)).model
    assert (float(fixed.mean), float(fixed.std)) == (0.5, 0.25)


def test_tables_need_public_examples():
    rng = np.random.default_rng(0)
    rows = Examples(rng.normal(50, 9, (40, 4)).astype(np.float32), rng.integers(0, 2, 40))
    blueprint = Blueprint("table", Recipe(), (4,), 2, build=lambda: nn.Linear(4, 2))
    with pytest.raises(DataError, match="standardised by validation examples"):
        DPSGD(noise=1.0).fit(blueprint, rows, Context(0))
    released = DPSGD(noise=1.0, epochs=2).fit(blueprint, rows, Context(0, validation=rows))
    assert predict(released.model, rows.x, device="cpu").shape == (40, 2)


def test_augmented_copies_are_used_where_the_recipe_augments(toy):
    plain, more = (release(toy, noise=0, epochs=2, copies=copies) for copies in (1, 3))
    assert torch.equal(flat(plain), flat(more))
    flips = Recipe(flip=0.5)
    once, thrice = (release(toy, noise=0, epochs=2, copies=copies, recipe=flips) for copies in (1, 3))
    assert not torch.equal(flat(plain), flat(once))
    assert not torch.equal(flat(once), flat(thrice))


def test_matched_utility_reaches_the_accuracy_with_as_much_noise_as_it_can(toy):
    blueprint, dataset = toy
    kept, seen = {}, []

    def keep(_name, key, make, inner):
        label = (key["inputs"], key["options"]["noise"])
        if label not in kept:
            kept[label] = make(inner)
        return kept[label]

    ctx = Context(0, validation=dataset.role("validation"), keep=keep, report=lambda done, _stage: seen.append(done))
    defense = DPSGD(accuracy=0.9, search=4, **SHORT)
    released = defense.fit(blueprint, dataset.role("pool"), ctx)
    assert accuracy(released, dataset.role("validation")) >= 0.9
    assert released.facts["searched"] == 1
    assert 0 < released.facts["epsilon"] < math.inf
    assert len(kept) == 5
    assert seen == sorted(seen)
    noises = sorted(noise for _, noise in kept)
    above = noises[noises.index(released.facts["noise"]) + 1]
    assert float(kept[dataset.role("pool").fingerprint, above]["validation accuracy"]) < 0.9
    again = dict(kept)
    assert torch.equal(flat(defense.fit(blueprint, dataset.role("pool"), ctx)), flat(released))
    assert kept == again  # an interrupted search goes on; nothing was trained a second time


def test_matched_utility_needs_validation_examples_and_a_reachable_accuracy(toy):
    blueprint, dataset = toy
    with pytest.raises(DataError, match="validation examples"):
        DPSGD(accuracy=0.9).fit(blueprint, dataset.role("pool"), Context(0))
    with pytest.raises(CellFailed, match="out of reach"):
        release(toy, accuracy=1.0, lr=1e-6, epochs=1)


def test_its_cost_is_told_before_it_runs():
    assert DPSGD(accuracy=0.5, search=3).traits.relative_cost == 4 * DPSGD().traits.relative_cost
    assert DPSGD(epochs=10, rate=0.3).steps == 33


def test_the_learning_rate_falls_with_the_loudness_of_the_noise():
    assert DPSGD(lr=0.3).learning_rate(5.0, 100) == 0.3
    assert DPSGD(rate=0.5).learning_rate(4.0, 800) == pytest.approx(0.5 / 4)
    assert DPSGD(rate=0.5, clip=2.0).learning_rate(4.0, 800) == pytest.approx(0.5 / 4 / 2)
    assert DPSGD().learning_rate(0.0, 800) == DPSGD().learning_rate(1e-6, 800) == 0.5
    assert DPSGD(noise=0.0, clip=math.inf).learning_rate(0.0, 800) == 0.5
