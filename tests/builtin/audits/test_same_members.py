"""Thresholds of each model's own, on the examples that all models were trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from privbench.builtin.audits import resampling, same_members
from privbench.builtin.audits.data_breakdown import DataBreakdown
from privbench.builtin.audits.overlap import Overlap
from privbench.builtin.audits.privacy_levels import PrivacyLevels
from privbench.builtin.audits.same_members import above_threshold, shared_examples
from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve
from privbench.population.fixed import fixed
from privbench.population.population import Population
from privbench.population.releases import make
from privbench.stats.signals import neg_modified_entropy
from privbench.store.store import Store


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 40)


def _make_all(*populations):
    for each in populations:
        for job in each.missing([1]):
            make(job, lambda done, stage="": None)


@pytest.fixture(scope="module")
def halves(table_file, tmp_path_factory):
    task = resolve("task", "npz", {"path": str(table_file), "epochs": 30, "hidden": (64,), "model": "mlp"})
    return Population(task, task.load(), resolve("defense", "ce"), 3, 0, "cpu", Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def population(halves):
    each = fixed(halves)
    _make_all(each)
    return each


def test_the_threshold_by_hand():
    scores = np.array([3.0, 2.0, 0.0, 9.0, 1.5])  # of three members, and of two others that do not count
    member = np.array([True, True, True, False, False])
    reference = (np.array([1.0, -1.0, 0.5]), np.zeros(3, dtype=int))
    # 2.0 and above: 2 of 3 members, no reference example; the threshold is midway between 2 and 1
    above = above_threshold(scores, np.zeros(5, dtype=int), member, reference, "global")
    assert above.tolist() == [1.5, 0.5, -1.5, 7.5, 0.0]


def test_a_threshold_of_each_class_by_hand():
    scores = np.array([3.0, 13.0, 13.5])
    labels, member = np.array([0, 1, 1]), np.array([True, True, False])
    reference = (np.array([1.0, 11.0]), np.array([0, 1]))
    above = above_threshold(scores, labels, member, reference, "class")
    assert above.tolist() == [1.0, 1.0, 1.5]


def test_the_pool_is_measured_with_each_model_s_own_threshold(population):
    attack = resolve("attack", "m-entropy:thresholds=global")
    found, made = same_members.attacked(population, attack)
    assert made is None
    assert (found.member == population.members(0)).all()
    signal = population.answers(1, 1, "pool").signal(neg_modified_entropy)[:, 0]
    shift = signal - found.scores[1]
    assert np.allclose(shift, shift[0])  # one threshold for all
    assert np.array_equal(found.decisions, found.scores >= 0)
    assert found.decisions[found.member].mean() > found.decisions[~found.member].mean()  # it is overfit


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("lira", "takes a threshold attack (m-entropy, confidence, entropy), not 'lira'"),
        ("m-entropy:shadows=undefended", "only the option thresholds"),
        ("m-entropy:cut=value", "only the option thresholds"),
    ],
)
def test_an_attack_that_needs_shadows_is_refused(population, attack, reason):
    for audit in (PrivacyLevels, Overlap):
        with pytest.raises(CellFailed) as caught:
            audit(attack=attack, members="fixed").compared(population)
        assert reason in str(caught.value)


def test_generated_examples_that_differ_are_not_shared():
    one, other = (Examples(np.full((2, 3), value, dtype=np.float32), np.array([0, 1])) for value in (0.0, 1.0))
    assert shared_examples([one, one]) is one
    assert shared_examples([one, other]) is None
    assert shared_examples([one, None]) is None


def test_privacy_levels_of_one_training_set(population):
    audit = PrivacyLevels(members="fixed", shown=4)
    assert audit.compared(population) == ()
    found = audit.measure(population, Context())
    values, arrays, member = found.values, found.arrays, population.members(0)
    assert values["trials"] == 3
    assert values["r_in"].value == pytest.approx(np.nanmean(arrays["R_in"]))
    assert values["advantage"].value == pytest.approx(values["r_in"].value - values["r_out"].value)
    assert np.array_equal(np.isfinite(arrays["R_in"]), member)
    assert np.array_equal(np.isfinite(arrays["R_out"]), ~member)
    assert np.isnan(arrays["A"]).all()
    assert np.array_equal(arrays["level"] >= 0, member)
    assert sum(values[f"{level}_share"].value for level in ("safe", "vague", "risky")) == pytest.approx(1)
    assert values["safe_share"].n == member.sum()
    assert [row["by chance"] for row in found.tables["Privacy levels"]] == pytest.approx([1 / 8, 6 / 8, 1 / 8])
    most = found.tables["Most exposed examples"]
    assert [set(row) for row in most] == [{"example", "label", "R_in", "distance"}] * 4
    assert most[0]["R_in"] == np.nanmax(arrays["R_in"])
    assert any("true positives" in note for note in found.notes)
    assert audit.measure(population, Context()).values == values


def test_levels_of_real_and_generated_examples_are_ranked_together():
    member = np.array([True, False, True, True])
    u = np.array([[0.0, 9.0, 2.0, 4.0]] * 2)
    scores = np.array([[1.0, 3.0, 5.0]] * 2)
    made = same_members.Attacked(scores, scores >= 0, np.ones((2, 3), dtype=bool))
    # in order: real 0, made 1, real 2, made 3, real 4, made 5: the lower three of six are safe, the others risky
    level, of_made = PrivacyLevels(members="fixed").fixed_levels(u, member, made, Context())
    assert level.tolist() == [0, -1, 0, 2]
    assert of_made.tolist() == [0, 2, 2]
    alone, none = PrivacyLevels(members="fixed").fixed_levels(u, member, None, Context())
    assert alone.tolist() == [0, -1, 0, 2]
    assert none is None


def test_overlap_of_one_training_set(population):
    audit = Overlap(members="fixed")
    (relaxed,) = audit.compared(population)
    assert relaxed == dataclasses.replace(population, defense=resolve("defense", "relaxloss"))
    _make_all(relaxed)
    found = audit.measure(population, Context())
    assert found.values["rankings"] == 3
    assert found.values["chance_top50"] == 0.25
    assert found.arrays["ranking_ce"].shape == (3, population.members(0).sum())
    assert "spearman_ce_relaxloss_same_seeds" in found.values
    assert not any(name.endswith("_same_members") for name in found.values)


def test_data_breakdown_of_stored_releases(population):
    audit = DataBreakdown(members="fixed")
    (part,) = audit.compared(population)
    assert (part.fixed, part.models) == (0.5, 6)
    assert not (part.members(0) & ~population.members(0)).any()
    _make_all(part)
    found = audit.measure(population, Context())
    subset = int(part.members(0).sum())
    assert found.values["subset"] == subset
    assert found.values["members"] == population.members(0).sum()
    assert found.values["trainings"] == 9
    losses = -part.answers(3, 1, "pool").logits[:, 0].astype(float)
    logits, y = -losses[part.members(0)], population.dataset.role("pool").y[part.members(0)]
    by_hand = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(subset), y]
    assert found.arrays["loss_subset_other"][1] == pytest.approx(by_hand, abs=1e-6)  # models come pair by pair
    assert found.values["r_alone"].value == pytest.approx(found.arrays["R_alone"].mean())
    assert found.values["r_more"].value == pytest.approx(found.arrays["R_more"].mean())
    rows = found.tables["How often examples of the subset are flagged by models of the subset"]
    assert sum(row["subset"] for row in rows) == subset


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pairs": 4}, "--models gives the pairs"),
        ({"steps": "equal"}, "another recipe"),
        ({"fraction": 0.001}, "no proper"),
    ],
)
def test_options_that_do_not_go_with_stored_releases_are_refused(population, options, reason):
    with pytest.raises(CellFailed, match=reason):
        DataBreakdown(members="fixed", **options).compared(population)
