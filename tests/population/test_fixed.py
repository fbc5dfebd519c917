"""Populations of one training set: the same members and generated examples, other seeds, and no attack on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from privbench.contracts.needs import Needs
from privbench.errors import CellFailed
from privbench.grid.cell import Cell
from privbench.plugins.loading import resolve
from privbench.population.evidence import evidence_of
from privbench.population.fixed import SharedData, fixed
from privbench.population.membership import fixed_members, members
from privbench.population.population import Population
from privbench.population.releases import make
from privbench.seeds import fresh_salt
from privbench.store.store import artifact_key

SALT = "0123456789abcdef0123456789abcdef"


def _make_all(each):
    for job in each.missing([1]):
        make(job, lambda done, stage="": None)


@pytest.fixture
def ce(task, store):
    return Population(task, task.load(), resolve("defense", "ce"), 3, 0, "cpu", store)


def test_the_members_are_a_share_of_each_class_of_the_first_half():
    labels = np.repeat([0, 1, 2], [40, 80, 200])
    for salt in ("", SALT, fresh_salt()):
        half = members(5, 0, len(labels), salt)
        assert np.array_equal(fixed_members(5, labels, 1.0, salt), half)
        part = fixed_members(5, labels, 0.25, salt)
        assert not (part & ~half).any()
        of_half = np.bincount(labels[half])
        assert np.bincount(labels[part]).tolist() == [round(0.25 * int(count)) for count in of_half]


def test_all_models_have_the_same_members_and_other_weights(ce):
    each = fixed(ce)
    _make_all(each)
    assert all(np.array_equal(each.members(index), ce.members(0)) for index in range(3))
    first, second = (each.weights(index) for index in (0, 1))
    assert any(not np.array_equal(first[name], second[name]) for name in first)


def test_the_first_model_is_the_first_one_of_halves_under_another_key(ce):
    each = fixed(ce)
    _make_all(each)
    _make_all(dataclasses.replace(ce, models=1))
    assert {name: array.tobytes() for name, array in each.weights(0).items()} == {
        name: array.tobytes() for name, array in ce.weights(0).items()
    }
    keys = {
        artifact_key("model", one.manifest(index))
        for one in (ce, each, fixed(ce, 0.5), dataclasses.replace(each, salt=SALT))
        for index in range(3)
    }
    assert len(keys) == 12


def test_halves_have_the_key_that_they_had(ce):
    assert "fixed" not in ce.manifest(0)
    assert "members by" not in ce.manifest(0)


def test_generated_examples_are_the_same_for_all_models(tmp_path, store):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    path = str(tmp_path / "noise.npz")
    task = resolve("task", "npz", {"path": path, "epochs": 1, "hidden": (8,), "model": "mlp", "batch_size": 8})
    defense = resolve("defense", "fake-data", {"gan_steps": 3, "gan_batch": 8, "ema_start": 0})
    halves = Population(task, task.load(), defense, 2, 0, "cpu", store)
    each = fixed(halves)
    assert isinstance(each.defense, SharedData)
    assert (each.defense.name, each.defense.named) == (defense.name, defense.named)
    _make_all(each)
    _make_all(halves)
    first, second = (each.synthetic(index) for index in (0, 1))
    assert first.fingerprint == second.fingerprint == halves.synthetic(0).fingerprint
    assert first.fingerprint != halves.synthetic(1).fingerprint
    weights = [each.weights(index) for index in (0, 1)]
    assert any(not np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "seed" not in str(each.manifest(0)["defense"].get("shared data"))


def test_no_attack_has_them_as_targets_or_shadows(ce):
    each, attack = fixed(ce), resolve("attack", "m-entropy")
    for sources in ((each, ce), (ce, each)):
        with pytest.raises(CellFailed, match="for audits"):
            Cell(sources[0], attack, 1, None, attacked=sources[0], shadows=(sources[1],))
    _make_all(each)
    assert each.shadow_indices(0) == []
    assert evidence_of(each, 0, Needs(shadows="adaptive"), 1, each).shadow_member.shape[0] == 0
