import types
import typing

import numpy as np
import pytest
import torch

from privbench.api import Blueprint, Context
from privbench.builtin.audits import students
from privbench.builtin.audits.utility_matrix import CELLS, UtilityMatrix, paired_bootstrap
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Dataset, Examples
from privbench.errors import BadOption, CellFailed
from privbench.grid.audits import measure
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.population import Population
from privbench.testing import toy_task


class Fake:
    """A population of tables whose generated examples are given: the part of one that the audit looks at."""

    skipped = ()
    defense = types.SimpleNamespace(name="fake")

    def __init__(self, dataset, generate, models=3, epochs=8):
        self.dataset, self.generate, self.models = dataset, generate, models
        self.blueprint = Blueprint(
            "fake",
            Recipe(epochs=epochs, batch_size=16),
            dataset.shape,
            dataset.classes,
            lambda: build("mlp", dataset.shape, dataset.classes, hidden=(16,)),
        )

    def members(self, index):
        n = len(self.dataset.pool)
        return np.random.default_rng(index).permutation(n) < n // 2

    def synthetic(self, index):
        return self.generate(self.dataset.role("pool")[self.members(index)], np.random.default_rng(index))


def blobs(sizes=(160, 3, 3, 90), classes=3, seed=0):
    rng, n = np.random.default_rng(seed), sum(sizes)
    y = np.arange(n) % classes
    x = (rng.normal(size=(n, 4)) + 2.0 * np.eye(classes, 4)[y]).astype(np.float32)
    return Dataset(Examples(x, y), classes, *np.split(np.arange(n), np.cumsum(sizes)[:-1]))


def copies(members, _rng):
    return members


def shuffled(members, rng):
    return Examples(members.x, rng.permutation(members.y))


# Which number stands where


class Majority(torch.nn.Module):
    """Answers with the label that it saw most, whatever it is asked."""

    def __init__(self, y, classes):
        super().__init__()
        self.answer = torch.nn.functional.one_hot(torch.tensor(np.bincount(y).argmax()), classes).float()

    def forward(self, x):
        return self.answer.expand(len(x), -1)


def test_the_matrix_by_hand(monkeypatch):
    """Private: mostly class 0, test 6 of 10 zeros. Generated: mostly class 1, of the held-out 5 there are 4 ones."""
    y = np.array([0] * 9 + [1] + [0, 1] + [0, 1] + [0] * 6 + [1] * 4)
    dataset = Dataset(Examples(np.zeros((24, 2), np.float32), y), 2, *np.split(np.arange(24), [10, 12, 14]))
    generated = Examples(np.zeros((25, 2), np.float32), np.array([1] * 20 + [0] * 5))
    monkeypatch.setattr(students, "fit", lambda kind, task, examples, ctx, like: Majority(examples.y, 2))
    found = UtilityMatrix(releases=1).measure(Fake(dataset, lambda *_: generated), Context())
    p = {name: found.values[name].value for name in CELLS}
    assert p == {"p1": 0.6, "p2": 0.4, "p3": 0.2, "p4": 0.8}
    assert found.tables["Accuracy"] == [
        {"tested on": "private", "trained on private": 0.6, "trained on generated": 0.4},
        {"tested on": "generated", "trained on private": 0.2, "trained on generated": 0.8},
    ]
    assert found.values["accuracy_loss"].value == pytest.approx(0.2)
    assert found.tables["By release"] == [{"release": 0, **p, "accuracy loss": pytest.approx(0.2)}]
    assert found.notes == ["1 releases are few: other seeds may say otherwise."]


def test_nobody_is_tested_on_what_he_was_trained_on(monkeypatch):
    seen = []

    def memorise(kind, task, examples, ctx, like):
        seen.append(examples)
        assert like == 80
        return Majority(examples.y, 3)

    monkeypatch.setattr(students, "fit", memorise)
    dataset, predicted = blobs(), []
    monkeypatch.setattr(
        "privbench.learn.predict", lambda model, x, device: predicted.append(x) or np.zeros((len(x), 3))
    )
    UtilityMatrix(releases=1).measure(Fake(dataset, lambda members, _: blobs(seed=9).examples), Context())
    assert {len(each) for each in seen} == {80, 205}
    tested = [{row.tobytes() for row in x} for x in predicted]
    for each in seen:
        assert not {row.tobytes() for row in each.x} & set.union(*tested)
    assert [len(x) for x in predicted] == [90, 51, 90, 51]


# Planted and broken


@pytest.mark.parametrize("student", typing.get_args(students.Kind))
def test_copies_lose_nothing(student):
    if student == "cnn":
        with pytest.raises(BadOption, match="needs images"):
            UtilityMatrix(student=student).measure(Fake(blobs(), copies), Context())
        return
    found = UtilityMatrix(student=student).measure(Fake(blobs(), copies), Context())
    loss, p1 = found.values["accuracy_loss"], found.values["p1"]
    assert loss.low <= 0 <= loss.high
    assert abs(loss.value) < 0.1
    assert p1.value > 0.7
    assert found.values["student"] == student
    assert found.notes == []


def test_generated_labels_at_random_lose_everything():
    found = UtilityMatrix(student="logistic").measure(Fake(blobs((480, 3, 3, 240)), shuffled), Context())
    assert found.values["accuracy_loss"].low > 0.2
    assert found.values["p2"].value < 0.55
    assert found.values["p4"].low < 1 / 3 < found.values["p4"].high


def test_what_publishes_nothing_is_told():
    with pytest.raises(CellFailed, match="publishes no generated examples"):
        UtilityMatrix().measure(Fake(blobs(), lambda *_: None), Context())


def test_too_few_generated_examples_are_told():
    with pytest.raises(CellFailed, match="publishes 1 generated examples"):
        UtilityMatrix().measure(Fake(blobs(), lambda members, _: members[:1]), Context())


def test_a_regression_that_was_stopped_is_noted(monkeypatch):
    monkeypatch.setattr(students, "ITERATIONS", 1)
    found = UtilityMatrix(student="logistic", releases=3).measure(Fake(blobs(), copies), Context())
    assert found.notes == ["6 of 6 logistic regressions were stopped before they converged."]


# Paired bootstrap


def slow(p1, p2, resamples=4000):
    """Draw test examples one by one, and score every student on them."""
    rng, means = np.random.default_rng(5), []
    releases, n = p1.shape
    for _ in range(resamples):
        rows = rng.integers(n, size=n)
        means.append(np.mean([p1[i, rows].mean() - p2[i, rows].mean() for i in range(releases)]))
    return np.percentile(means, [2.5, 97.5])


def test_the_interval_is_that_of_a_slow_bootstrap():
    rng = np.random.default_rng(0)
    p1 = rng.random((3, 120)) < 0.9
    p2 = p1 & (rng.random((3, 120)) < 0.8)
    found = paired_bootstrap(p1, p2, np.random.default_rng(1))
    assert found.value == pytest.approx(p1.mean() - p2.mean())
    np.testing.assert_allclose([found.low, found.high], slow(p1, p2), atol=0.008)


def test_pairing_narrows_the_interval():
    """Two students that err on the same hard examples differ less than their accuracies' own intervals say."""
    rng = np.random.default_rng(0)
    p1 = (rng.random(400) < 0.6)[None]
    p2 = p1 & (rng.random(400) < 0.98)
    found = paired_bootstrap(p1, p2, np.random.default_rng(1))
    unpaired = paired_bootstrap(p1, rng.permutation(p2[0])[None], np.random.default_rng(1))
    assert found.high - found.low < (unpaired.high - unpaired.low) / 2


@pytest.mark.parametrize(("p1", "p2", "value"), [(True, True, 0.0), (True, False, 1.0), (False, True, -1.0)])
def test_no_disagreement_leaves_an_interval_all_the_same(p1, p2, value):
    found = paired_bootstrap(np.full((2, 50), p1), np.full((2, 50), p2), np.random.default_rng(0))
    assert found.value == value
    assert 0.05 < found.high - found.low < 0.3
    assert -1 <= found.low <= found.high <= 1


# In a real population


@pytest.fixture
def published(store, make_all):
    """Two releases of a defense that publishes near copies of its members."""
    from privbench.testing.audits import Leaky

    task = toy_task(epochs=1)
    return make_all(Population(task, task.load(), chain([Leaky()]), 2, 0, "cpu", store))


def test_students_are_kept_and_never_trained_twice(published, monkeypatch):
    first, _ = measure(UtilityMatrix(), published)
    assert first.status == "ok", first.reason
    monkeypatch.setattr(students, "fit", None)
    again, _ = measure(UtilityMatrix(), published)
    assert again.digest == first.digest
    other, _ = measure(UtilityMatrix(student="mlp"), published)
    assert other.status == "failed"  # it would have to train


def test_releases_have_seeds_of_their_own_and_their_students_the_same(published, monkeypatch):
    seen, original = [], students.fit

    def fit(kind, task, examples, ctx, like):
        seen.append(ctx.rng("x").integers(2**60))
        return original(kind, task, examples, ctx, like=like)

    monkeypatch.setattr(students, "fit", fit)
    measure(UtilityMatrix(), published)
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_undefended_training_publishes_nothing(task, store, make_all):
    population = make_all(Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", store))
    record, _ = measure(UtilityMatrix(), population)
    assert (record.status, record.reason) == (
        "failed",
        "ce publishes no generated examples to train a student on.",
    )


def test_the_option_names_every_kind_of_student():
    for kind in typing.get_args(students.Kind):
        assert resolve("audit", f"utility-matrix:student={kind}").student == kind
