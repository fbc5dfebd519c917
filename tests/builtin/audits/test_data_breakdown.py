import numpy as np
import pytest

from privbench.builtin.audits import data_breakdown, resampling
from privbench.builtin.audits.data_breakdown import DataBreakdown, stratified
from privbench.contracts.context import Context
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve
from privbench.population.keeper import Keeper
from privbench.population.population import Population
from privbench.store.store import Store


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 100)


def test_the_subset_has_its_share_of_every_class():
    labels = np.repeat([0, 1, 2], [10, 20, 40])
    rows = stratified(labels, 0.5, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [5, 10, 20]
    assert (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, stratified(labels, 0.5, np.random.default_rng(1)))


@pytest.fixture
def population(task, tmp_path):
    return Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", Store(tmp_path))


def test_models_are_trained_and_kept(population, monkeypatch):
    audit, trained = DataBreakdown(pairs=2), []
    fit = type(population.defense).fit

    def counted(self, task, examples, ctx):
        trained.append(len(examples))
        return fit(self, task, examples, ctx)

    monkeypatch.setattr(type(population.defense), "fit", counted)
    found = audit.measure(population, Context(keep=Keeper.of(population)))
    subset = found.values["subset"]
    assert trained == [subset] * 4 + [found.values["members"]] * 2
    assert found.values["verdict"] in {"breakdown", "outlier effect", "none"}
    assert found.arrays["loss_subset_more"].shape == (2, subset)
    assert found.arrays["loss_test_one"].shape == (2, len(population.dataset.test))
    assert not np.array_equal(found.arrays["loss_subset_one"], found.arrays["loss_subset_other"])  # seeds differ
    assert [row["trained on"] for row in found.tables["Trainings"]] == ["subset"] * 4 + ["all members"] * 2
    again = audit.measure(population, Context(keep=Keeper.of(population)))
    assert len(trained) == 6
    assert again.values == found.values


def test_equal_steps_are_fewer_epochs(population, monkeypatch):
    seen = []

    def trained(_population, task, examples, subset, _ctx):
        seen.append((task.recipe.epochs, len(examples)))
        loss, test = np.zeros(len(subset)), np.zeros(len(population.dataset.test))
        return {"subset": loss, "test": test, "correct": loss == 0, "test_correct": test == 0}

    monkeypatch.setattr(data_breakdown, "trained", trained)
    DataBreakdown(pairs=2, steps="equal", fraction=0.34).measure(population, Context())
    assert {epochs for epochs, n in seen[:4]} == {3}
    assert {epochs for epochs, n in seen[4:]} == {1}


def test_a_fraction_that_leaves_nothing_is_refused(population):
    with pytest.raises(CellFailed, match="no proper subset"):
        DataBreakdown(fraction=0.001).measure(population, Context())
