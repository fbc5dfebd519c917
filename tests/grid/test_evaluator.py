import numpy as np
import pytest
import torch

from privbench.grid import evaluator
from privbench.plugins.loading import resolve
from privbench.population.population import Population


def population(store, spec="digits:epochs=1,limit=200", **options):
    task = resolve("task", spec)
    return Population(task, task.load(), resolve("defense", "ce"), 2, options.get("seed", 0), "cpu", store)


@pytest.mark.parametrize(
    ("spec", "architecture", "convolves"),
    [
        ("digits", "cnn", True),
        ("digits:model=cnn", "mlp 256-128", False),
        ("digits:model=hivit_tiny", "mlp 256-128", False),
    ],
)
def test_the_judge_is_unlike_the_judged(store, spec, architecture, convolves):
    task, words = evaluator.other(population(store, spec).blueprint)
    assert words == architecture
    assert any(isinstance(module, torch.nn.Conv2d) for module in task.model().modules()) == convolves
    assert task.model()(torch.zeros(2, *task.shape)).shape == (2, 10)


def test_images_too_small_for_convolutions_get_an_mlp(store):
    from dataclasses import replace

    tiny = replace(population(store).blueprint, shape=(1, 3, 3), build=lambda: torch.nn.Linear(9, 10))
    assert evaluator.other(tiny)[1] == "mlp 256-128"


def test_it_is_trained_once_for_all_defenses_on_all_but_the_test_examples(store, monkeypatch):
    trained = []

    def spy(task, examples, ctx, train=evaluator.train):
        trained.append(len(examples))
        return train(task, examples, ctx)

    monkeypatch.setattr(evaluator, "train", spy)
    each = population(store)
    before = torch.random.get_rng_state()
    first = evaluator.of(each)
    assert torch.equal(before, torch.random.get_rng_state())
    from dataclasses import replace

    second = evaluator.of(replace(each, defense=resolve("defense", "relaxloss")))
    roles = ("pool", "reference", "validation")
    assert trained == [sum(len(each.dataset.rows(role)) for role in roles)]
    x = each.dataset.role("test").x
    assert first.logits(x).tobytes() == second.logits(x).tobytes()
    accuracy = (first.logits(x).argmax(axis=1) == each.dataset.role("test").y).mean()
    assert first.accuracy.value == pytest.approx(accuracy)
    assert first.accuracy.n == len(x)


def test_features_are_what_the_last_layer_sees(store):
    judge = evaluator.of(population(store))
    x = population(store).dataset.role("test").x[:5]
    features, last = judge.features(x), judge.model.net[-1]
    with torch.no_grad():
        logits = last(torch.from_numpy(features)).numpy()
    assert features.shape == (5, 128)
    np.testing.assert_allclose(logits, judge.logits(x), rtol=1e-4, atol=1e-4)


def test_another_seed_is_another_judge(store):
    x = population(store).dataset.role("test").x[:5]
    one, other = (evaluator.of(population(store, seed=seed)).logits(x) for seed in (0, 1))
    assert (one != other).any()
