import dataclasses

import numpy as np
import pytest

from privbench.builtin.audits import resampling
from privbench.builtin.audits.attacked import Attacked
from privbench.builtin.audits.privacy_levels import PrivacyLevels
from privbench.contracts.context import Context
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve
from privbench.population.membership import members


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 60)


@pytest.fixture(scope="module")
def population(overfit):
    return overfit(6)


def _levels(u, member, audit):
    found = Attacked(u, u >= 0, member)
    return audit.levels(u, found, Context())


def _member(models, n):
    return np.stack([members(0, model, n) for model in range(models)])


def test_a_population_is_measured(population):
    audit = PrivacyLevels(shown=4)
    found = audit.measure(population, Context())
    values, arrays, n = found.values, found.arrays, len(population.dataset.pool)
    assert values["attack"] == "m-entropy:thresholds=global"
    assert values["trials"] == 3
    assert values["advantage"].low > 0  # it is overfit
    assert values["advantage"].value == pytest.approx(np.mean(arrays["A"]))
    assert values["r_in"].value == pytest.approx(np.mean(arrays["R_in"]))
    assert values["w1_member_nonmember"].low > 0
    assert values["ks_member_nonmember"].value > values["ks_nonmember_test"].value
    assert sum(values[f"{level}_share"].value for level in ("safe", "vague", "risky")) == pytest.approx(1)
    assert len(found.tables["Most exposed examples"]) == 4
    assert {array.shape for name, array in arrays.items() if not name.startswith("loss")} == {(n,)}
    assert arrays["loss_member"].sum() == arrays["loss_nonmember"].sum() == 3 * n
    assert "between 0.40 and 0.99" in found.notes[0]
    again = audit.measure(population, Context())
    assert again.values == values


def test_an_attack_that_asks_more_is_refused(population):
    with pytest.raises(CellFailed, match="one query"):
        PrivacyLevels(attack="lira:queries=18").measure(population, Context())


def test_undefended_shadows_are_made_first(population):
    audit = PrivacyLevels(attack="m-entropy:shadows=undefended")
    relaxed = dataclasses.replace(population, defense=resolve("defense", "relaxloss"))
    assert list(audit.compared(relaxed)) == [population]
    assert list(PrivacyLevels().compared(relaxed)) == []


def test_unanimous_models_make_levels_of_what_they_agree_on():
    u = np.tile(np.arange(100.0), (6, 1))  # every model says the same
    level = _levels(u, _member(6, 100), PrivacyLevels())
    assert (level[:35] == 0).all()
    assert (level[65:] == 2).all()
    assert (level == 1).sum() < 25  # near the middle, halves differ in where theirs is


def test_levels_of_noise_are_those_of_chance():
    u = np.random.default_rng(0).normal(size=(6, 3000))
    level = _levels(u, _member(6, 3000), PrivacyLevels())
    assert (level == 0).mean() == pytest.approx(1 / 8, abs=0.02)
    assert (level == 2).mean() == pytest.approx(1 / 8, abs=0.02)
    level = _levels(u, _member(6, 3000), PrivacyLevels(votes=2))
    assert (level == 1).mean() == 0


def test_votes_that_make_no_levels_are_refused():
    u = np.zeros((6, 10))
    for votes in (1, 4):
        with pytest.raises(CellFailed, match="choose 2 to 3 votes"):
            _levels(u, _member(6, 10), PrivacyLevels(votes=votes))
