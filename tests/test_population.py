import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench import metrics, population, signals
from privbench.api import Needs
from privbench.errors import CorruptArtifact, DataError
from privbench.plugins import resolve
from privbench.population import Population, members, partner
from privbench.releases import make
from privbench.testing import CountOnly


@pytest.fixture
def ce(task, store):
    return Population(task, task.load(), resolve("defense", "ce"), 6, 0, "cpu", store)


def _make_all(each, queries=(1,)):
    for job in each.missing(queries):
        make(job, lambda done, stage="": None)


@given(seed=st.integers(0, 2**31), pair=st.integers(0, 500), n=st.integers(2, 300))
def test_a_pair_splits_the_pool_into_a_half_and_its_complement(seed, pair, n):
    first, second = members(seed, 2 * pair, n), members(seed, 2 * pair + 1, n)
    assert (first ^ second).all()
    assert first.sum() == n // 2


def test_partners_are_each_others():
    assert [partner(index) for index in range(4)] == [1, 0, 3, 2]


def test_halves_of_different_pairs_and_seeds_are_independent():
    rows = np.stack([members(seed, 2 * pair, 4000) for seed in range(3) for pair in range(3)])
    agreement = (rows[:, None] == rows[None]).mean(axis=-1)[~np.eye(9, dtype=bool)]
    assert np.abs(agreement - 0.5).max() < 4 * 0.5 / np.sqrt(4000)


def test_a_larger_population_contains_the_smaller_one(ce, task, store):
    _make_all(ce)
    larger = Population(task, ce.dataset, ce.defense, 10, 0, "cpu", store)
    assert [job.index for job in larger.missing([1])] == [6, 7, 8, 9]
    for index in range(6):
        assert (larger.members(index) == ce.members(index)).all()


def test_the_partner_is_never_a_shadow_and_every_example_is_in_exactly_half_of_the_shadows(ce):
    for target in range(6):
        indices = ce.shadow_indices(target)
        assert target not in indices
        assert partner(target) not in indices
        member = np.stack([ce.members(i) for i in indices])
        assert (member.sum(axis=0) == len(indices) // 2).all()


def test_counting_shadow_memberships_finds_nothing(task, store):
    each = Population(task, task.load(), resolve("defense", "ce"), 6, 0, "cpu", store)
    _make_all(each)
    scores, member = [], []
    for target in range(6):
        evidence = each.evidence(target, CountOnly().needs, 1, each)
        scores.append(CountOnly().score(evidence))
        member.append(each.members(target))
    result = metrics.evaluate(np.array(scores), np.array(member), None, seed=0)
    assert result.auc.low <= 0.5 <= result.auc.high


def test_the_model_loaded_from_the_store_answers_as_it_did(ce):
    from privbench.training import predict

    _make_all(ce)
    stored = ce.answers(2, 1, "pool").logits[:, 0]
    assert np.array_equal(predict(ce.model(2), ce.dataset.role("pool").x, device="cpu"), stored)
    assert stored.dtype == np.float32


def test_evidence_holds_what_is_declared(ce):
    _make_all(ce)
    needs = Needs(shadows="adaptive", reference=True, query=True, examples=True, model=True)
    evidence = ce.evidence(0, needs, 1, ce)
    n, classes = len(ce.dataset.pool), ce.dataset.classes
    assert evidence.logits.shape == (n, 1, classes)
    assert evidence.shadow_logits.shape == (4, n, 1, classes)
    assert np.array_equal(evidence.shadow_member, [ce.members(i) for i in (2, 3, 4, 5)])
    assert np.array_equal(evidence.x, ce.dataset.role("pool").x)
    assert evidence.reference.logits.shape[0] == len(ce.dataset.reference)
    assert np.array_equal(evidence.query(evidence.x), evidence.logits[:, 0])
    assert np.array_equal(evidence.shadow_query(1, evidence.x), ce.answers(3, 1, "pool").logits[:, 0])
    assert evidence.shadow_signals(signals.phi).shape == (4, n, 1)
    assert not evidence.model.training


def test_excluded_models_and_their_partners_are_no_shadows(ce):
    _make_all(ce)
    evidence = ce.evidence(0, Needs(shadows="adaptive"), 1, ce, exclude=(3,))
    assert np.array_equal(evidence.shadow_member, [ce.members(4), ce.members(5)])


@pytest.mark.parametrize("other", [{"seed": 1}, {"device": "cuda"}, {"defense": "relaxloss"}, {"task": "lr=0.5"}])
def test_whatever_shapes_a_release_is_in_its_key(ce, task, store, table_file, other):
    changed = {"seed": 0, "device": "cpu", "defense": "ce", **other}
    if "task" in other:
        task = resolve(
            "task", "npz", {"path": str(table_file), "epochs": 3, "hidden": (32,), "model": "mlp", "lr": 0.5}
        )
    each = Population(
        task, ce.dataset, resolve("defense", changed["defense"]), 6, changed["seed"], changed["device"], store
    )
    assert each.manifest(0) != ce.manifest(0)


def test_an_edited_component_never_gets_an_old_model(ce, monkeypatch):
    before = ce.manifest(0)
    real = population.component_key
    monkeypatch.setattr(population, "component_key", lambda c: {**real(c), "source": "edited"})
    again = Population(ce.task, ce.dataset, ce.defense, 6, 0, "cpu", ce.store)
    assert again.manifest(0) != before


def test_a_worker_gets_the_data_by_loading_them_again_and_refuses_changed_ones(ce, table_file):
    state = pickle.dumps(ce)
    assert len(state) < 10_000
    assert pickle.loads(state).dataset.fingerprint == ce.dataset.fingerprint
    changed = Population(ce.task, ce.dataset, ce.defense, 6, 0, "cpu", ce.store)
    object.__setattr__(changed, "dataset", type("Fake", (), {"fingerprint": "other"})())
    state = pickle.dumps(changed)
    with pytest.raises(DataError, match="changed on disk"):
        pickle.loads(state)


def test_answers_that_are_damaged_say_what_to_do(ce):
    with pytest.raises(CorruptArtifact, match="run the command again"):
        _ = ce.answers(0, 1, "pool").logits


def test_loading_a_model_leaves_the_global_generator_alone(ce):
    import torch

    _make_all(ce)
    before = torch.get_rng_state()
    ce.model(0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_that_is_queried_again_and_again_is_loaded_once(ce, monkeypatch):
    _make_all(ce)
    loads, load = [], Population.model
    monkeypatch.setattr(Population, "model", lambda self, index: loads.append(index) or load(self, index))
    evidence = ce.evidence(0, Needs(query=True, shadows="adaptive"), 1, ce)
    x = ce.dataset.role("test").x[:3]
    answers = [evidence.query(x) for _ in range(3)]
    assert loads == [0]
    evidence.shadow_query(1, x)
    assert loads == [0, ce.shadow_indices(0)[1]]
    np.testing.assert_array_equal(answers[0], answers[2])


def test_an_attacker_s_own_models_are_kept_once_for_all_targets_and_lead_to_no_release(ce):
    _make_all(ce)
    needs, examples, made = Needs(answers="labels", training=True), ce.dataset.role("reference"), []

    def make(ctx):
        made.append(ctx.seed)
        return {"drawn": ctx.rng("x").random(3)}

    contexts = [ce.evidence(target, needs, 1, ce).ctx for target in (0, 3)]
    first, second = (ctx.kept("own", examples, {"a": 1}, make)["drawn"] for ctx in contexts)
    np.testing.assert_array_equal(first, second)
    assert len(made) == 1
    assert ce.evidence(0, needs, 1, ce).task == ce.blueprint
    assert not vars(contexts[0].keep), "a label-only attack must not find the population behind its context"
    assert contexts[0].reference is contexts[0].validation is None
