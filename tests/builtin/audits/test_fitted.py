"""Accuracy and loss on the examples that a model was trained on, as they are and as augmented."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from privbench.builtin.audits import fitted, losses
from privbench.learn import augmentation, to_inputs, training
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.population.releases import make


@pytest.fixture
def population(tmp_path, store):
    def of(defense="ce", **recipe):
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8), np.arange(64) % 2
        np.savez(tmp_path / "noise.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
        options = {"path": str(tmp_path / "noise.npz"), "hidden": (32,), "model": "mlp", "batch_size": 8, **recipe}
        task = resolve("task", "npz", options)
        each = Population(task, task.load(), resolve("defense", defense), 2, 0, "cpu", store)
        for job in each.missing([1]):
            make(job, lambda done, stage="": None)
        return each

    return of


def _found(each):
    return fitted.of_population(each, losses.of_population(each), np.random.default_rng(0))


def test_accuracies_and_losses_by_hand(population):
    each = population(epochs=2)
    found = _found(each)
    assert set(found) == {"train_accuracy", "train_loss", "test_accuracy", "test_loss"}
    right, loss = [], []
    for index in range(2):
        logits = each.answers(index, 1, "pool").logits[:, 0][each.members(index)].astype(float)
        y = each.dataset.role("pool").y[each.members(index)]
        right.extend(logits.argmax(axis=1) == y)
        loss.append((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]).mean())
    assert found["train_accuracy"].value == pytest.approx(np.mean(right))
    assert found["train_loss"].value == pytest.approx(np.mean(loss), abs=1e-6)
    assert found["train_loss"].n == 2


def _recorded(made):
    def predict(_model, x, *, device):
        assert device == "cpu"
        made.append(x)
        return np.zeros((len(x), 2), dtype=np.float32)

    return predict


@pytest.mark.parametrize("defense", ["ce", "relaxloss:alpha=0.01"])
def test_static_copies_are_those_that_the_model_was_trained_on(population, monkeypatch, defense):
    seen, static = [], augmentation.static

    def kept(images, recipe, generator, fixed=None):
        seen.append(static(images, recipe, generator, fixed))
        return seen[-1]

    monkeypatch.setattr(training.augmentation, "static", kept)
    each = population(defense, epochs=1, copies=2, crop=2, flip=0.5)
    monkeypatch.undo()
    trained, made = list(seen), []
    predict = _recorded(made)
    monkeypatch.setattr("privbench.learn.predict", predict)
    for index in range(2):
        right, loss = fitted.augmented(each, index, each.blueprint.recipe, np.random.default_rng(index))
        assert right.shape == (2, each.members(index).sum())
        assert len(loss) == right.size
        assert torch.equal(to_inputs(made[index]), trained[index])


def test_a_model_fits_the_copies_that_it_was_trained_on_and_not_the_originals(population):
    found = _found(
        population(epochs=120, copies=1, crop=3, flip=1.0, lr=0.1)
    )  # noise, which can only be learnt by heart
    assert found["augmented_accuracy"].value == 1.0
    assert found["augmented_loss"].value < 0.1 < found["train_loss"].value
    assert found["train_accuracy"].value < 0.9


def test_dynamic_augmentation_is_drawn_once_for_each_member(population):
    each = population(epochs=2, crop=2)
    found = _found(each)
    assert found["augmented_accuracy"].n == 2 * each.members(0).sum()
    assert found == _found(each)


def test_copies_inside_another_training_are_not_known(population):
    found = _found(population("selena:models=3,held_out=1", epochs=1, copies=1, crop=2))
    assert found["augmented_loss"].value is None
    assert "not known" in found["augmented_accuracy"].note
