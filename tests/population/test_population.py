import math
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from privbench.api import Needs
from privbench.errors import CorruptArtifact, DataError
from privbench.plugins.loading import resolve
from privbench.population import identity
from privbench.population.composition import chain
from privbench.population.evidence import evidence_of
from privbench.population.membership import partner
from privbench.population.population import Population
from privbench.seeds import derive, fresh_salt, numpy_generator
from privbench.stats import metrics, signals
from privbench.store import artifact
from privbench.store.hashing import file_sha256
from privbench.store.store import artifact_key
from privbench.testing import CountOnly, toy_task
from privbench.testing.unseen import IgnoresItsData

SALT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def ce(task, store):
    return Population(task, task.load(), resolve("defense", "ce"), 6, 0, "cpu", store)


def test_a_larger_population_contains_the_smaller_one(ce, task, store, make_all):
    make_all(ce)
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


@pytest.mark.parametrize("salt", ["", fresh_salt()], ids=["public", "fresh"])
def test_counting_shadow_memberships_finds_nothing(task, store, salt, make_all):
    each = Population(task, task.load(), resolve("defense", "ce"), 6, 0, "cpu", store, salt=salt)
    make_all(each)
    scores, member = [], []
    for target in range(6):
        evidence = evidence_of(each, target, CountOnly().needs, 1, each)
        scores.append(CountOnly().score(evidence))
        member.append(each.members(target))
    result = metrics.evaluate(np.array(scores), np.array(member), None, seed=0)
    assert result.auc.low <= 0.5 <= result.auc.high, f"salt {salt}"


def test_the_model_loaded_from_the_store_answers_as_it_did(ce, make_all):
    from privbench.learn.inference import predict

    make_all(ce)
    stored = ce.answers(2, 1, "pool").logits[:, 0]
    assert np.array_equal(predict(ce.model(2), ce.dataset.role("pool").x, device="cpu"), stored)
    assert stored.dtype == np.float32


def test_evidence_holds_what_is_declared(ce, make_all):
    make_all(ce)
    needs = Needs(shadows="adaptive", reference=True, query=True, examples=True, model=True)
    evidence = evidence_of(ce, 0, needs, 1, ce)
    n, classes = len(ce.dataset.pool), ce.dataset.classes
    assert evidence.logits.shape == (n, 1, classes)
    assert evidence.shadow_logits.shape == (4, n, 1, classes)
    shown = ce.shadow_indices(0)
    assert sorted(shown) == [2, 3, 4, 5]
    assert np.array_equal(evidence.shadow_member, [ce.members(i) for i in shown])
    assert np.array_equal(evidence.x, ce.dataset.role("pool").x)
    assert evidence.reference.logits.shape[0] == len(ce.dataset.reference)
    assert np.array_equal(evidence.query(evidence.x), evidence.logits[:, 0])
    assert np.array_equal(evidence.shadow_query(1, evidence.x), ce.answers(shown[1], 1, "pool").logits[:, 0])
    assert evidence.shadow_signals(signals.phi).shape == (4, n, 1)
    assert not evidence.model.training


def test_excluded_models_and_their_partners_are_no_shadows(ce, make_all):
    make_all(ce)
    evidence = evidence_of(ce, 0, Needs(shadows="adaptive"), 1, ce, exclude=(3,))
    shown = ce.shadow_indices(0, exclude=(3,))
    assert sorted(shown) == [4, 5]
    assert np.array_equal(evidence.shadow_member, [ce.members(i) for i in shown])
    assert shown == [i for i in ce.shadow_indices(0) if i in (4, 5)]


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
    real = identity.component_key
    monkeypatch.setattr(identity, "component_key", lambda c: {**real(c), "source": "edited"})
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


def _damage(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)


def _age(store):
    """Make all files old enough for their time of change to tell whether they have changed since."""
    for path in store.root.rglob("*"):
        os.utime(path, (1, 1))


READS = {
    "weights": lambda each: each.model(2),
    "notes": lambda each: each.notes(2),
    "synthetic examples": lambda each: each.synthetic(2),
    "facts": lambda each: each.facts(),
    "seconds": lambda each: each.seconds([1, 2]),
    "answers": lambda each: each.answers(2, 1, "pool").logits,
    "evidence": lambda each: evidence_of(each, 0, Needs(shadows="adaptive", synthetic=True), 1, each).shadow_synthetic(
        each.shadow_indices(0).index(2)
    ),
}


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("lost", ["never made", "removed", "removed later", "damaged", "damaged later"])
def test_what_is_not_there_or_damaged_is_an_error_and_never_absent(ce, what, lost, make_all):
    if lost != "never made":
        make_all(ce)
        _age(ce.store)
    if lost.endswith("later"):
        READS[what](ce)
    for each in list(ce.store.artifacts()):
        if each.manifest["index"] == 2 and lost.startswith("removed"):
            ce.store.remove(each)
        elif each.manifest["index"] == 2:
            _damage(each.path, "release.json" if each.kind == "model" else "pool.npy")
    word = "answers" if what == "answers" else "release"
    with pytest.raises(CorruptArtifact, match=f"The stored {word} of ce model . cannot be used: .* Run the command"):
        READS[what](ce)


def test_absent_by_design_is_none_or_empty(ce, make_all):
    make_all(ce)
    assert ce.synthetic(2) is None
    assert ce.notes(2) == {}


def test_what_is_stored_is_hashed_when_it_is_first_asked_for_and_not_again(ce, monkeypatch, make_all):
    make_all(ce)
    _age(ce.store)
    hashed = []
    monkeypatch.setattr(artifact, "file_sha256", lambda path: hashed.append(path.name) or file_sha256(path))
    for _ in range(2):
        assert ce.missing([1]) == []
        assert ce.artifact(0).key == artifact_key("model", ce.manifest(0))
        for role in ("pool", "test"):
            assert ce.answers(0, 1, role).logits.size
    assert len(hashed) == 6 * (3 + 3)


def test_what_is_damaged_is_a_job_like_what_is_missing_and_planning_touches_nothing(ce, make_all):
    make_all(ce)
    before = {index: ce.answers(index, 1, "pool").logits.tobytes() for index in range(6)}
    artifacts = {(each.kind, each.manifest["index"]): each for each in ce.store.artifacts()}
    _damage(artifacts["model", 1].path, "weights.safetensors")
    _damage(artifacts["answers", 2].path, "test.npy")
    _damage(artifacts["model", 3].path, "release.json")
    (artifacts["answers", 3].path / "pool.npy").unlink()
    ce.store.remove(artifacts["model", 4])
    jobs = ce.missing([1])
    assert [(job.index, job.queries, job.trained, job.damaged) for job in jobs] == [
        (1, (), False, ("model",)),
        (2, (1,), True, ("answers",)),
        (3, (1,), False, ("model", "answers")),
        (4, (), False, ()),
    ]
    assert not (ce.store.root / ".quarantine").exists()
    assert ce.sound(range(6)) == [0, 2, 5]
    make_all(ce)
    assert ce.missing([1]) == []
    assert len(list((ce.store.root / ".quarantine").iterdir())) == 4
    assert {index: ce.answers(index, 1, "pool").logits.tobytes() for index in range(6)} == before


def test_the_release_of_transformed_queries_is_only_counted_as_damaged_where_it_is_made(ce, make_all):
    make_all(ce)
    transformed = replace(ce, inputs="transformed")
    (damaged,) = [each for each in ce.store.artifacts("model") if each.manifest["index"] == 1]
    _damage(damaged.path, "release.json")
    assert [job.damaged for job in ce.missing([1])] == [("model",)]
    assert [job.damaged for job in transformed.missing([1])] == [()] * 6


def test_loading_a_model_leaves_the_global_generator_alone(ce, make_all):
    import torch

    make_all(ce)
    before = torch.get_rng_state()
    ce.model(0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_that_is_queried_again_and_again_is_loaded_once(ce, monkeypatch, make_all):
    make_all(ce)
    loads, load = [], Population.model
    monkeypatch.setattr(Population, "model", lambda self, index: loads.append(index) or load(self, index))
    evidence = evidence_of(ce, 0, Needs(query=True, shadows="adaptive"), 1, ce)
    x = ce.dataset.role("test").x[:3]
    answers = [evidence.query(x) for _ in range(3)]
    assert loads == [0]
    evidence.shadow_query(1, x)
    assert loads == [0, ce.shadow_indices(0)[1]]
    np.testing.assert_array_equal(answers[0], answers[2])


def test_an_attacker_s_own_models_are_kept_once_for_all_targets_and_lead_to_no_release(ce, make_all):
    make_all(ce)
    needs, examples, made = Needs(answers="labels", training=True), ce.dataset.role("reference"), []

    def make(ctx):
        made.append(ctx.seed)
        return {"drawn": ctx.rng("x").random(3)}

    contexts = [evidence_of(ce, target, needs, 1, ce).ctx for target in (0, 3)]
    first, second = (ctx.kept("own", examples, {"a": 1}, make)["drawn"] for ctx in contexts)
    np.testing.assert_array_equal(first, second)
    assert len(made) == 1
    assert evidence_of(ce, 0, needs, 1, ce).task == ce.blueprint
    assert not vars(contexts[0].keep), "a label-only attack must not find the population behind its context"
    assert contexts[0].reference is contexts[0].validation is None


# What an attack must not learn


@pytest.fixture
def published(store, make_all):
    """Releases of a toy task that publish synthetic examples too."""
    toy = toy_task(pool=40, epochs=1)
    each = Population(toy, toy.load(), chain([IgnoresItsData()]), 12, 0, "cpu", store, salt=SALT)
    make_all(each)
    return each


def test_all_evidence_of_shadows_is_in_one_order_that_is_not_their_own(published):
    needs = Needs(shadows="adaptive", reference=True, query=True, synthetic=True)
    natural = 0
    for target in range(12):
        evidence, shown = evidence_of(published, target, needs, 1, published), published.shadow_indices(target)
        natural += shown == sorted(shown)
        for at, index in enumerate(shown):
            logits = published.answers(index, 1, "pool").logits
            assert np.array_equal(evidence.shadow_member[at], published.members(index))
            assert np.array_equal(evidence.shadow_logits[at], logits)
            assert np.array_equal(evidence.shadow_signals(signals.phi)[at], signals.phi(logits, evidence.labels))
            assert np.array_equal(evidence.reference.shadow_logits[at], published.answers(index, 1, "reference").logits)
            x = published.dataset.role("pool").x
            assert np.array_equal(evidence.shadow_query(at, x), logits[:, 0])
            assert np.array_equal(evidence.shadow_synthetic(at).x, published.synthetic(index).x)
    assert natural == 0


def test_without_shadows_their_membership_is_still_bool(ce, make_all):
    make_all(ce)
    alone = Population(ce.task, ce.dataset, ce.defense, 2, 0, "cpu", ce.store)
    evidence = evidence_of(alone, 0, Needs(shadows="adaptive"), 1, alone)
    assert evidence.shadow_member.dtype == bool
    assert (~evidence.shadow_member).shape == (0, len(ce.dataset.pool))
    assert evidence.shadow_signals(signals.phi).shape == (0, len(ce.dataset.pool), 1)


def test_the_public_salt_changes_no_key_and_no_seed(ce, make_all):
    assert ce.manifest(2).keys() == {"task", "defense", "seed", "device", "processor", "harness", "libraries", "index"}
    needs = Needs(answers="labels", training=True)
    make_all(ce)
    evidence = evidence_of(ce, 3, needs, 1, ce)
    assert evidence.rng("x").random() == numpy_generator(derive(0, "evidence", 3), "attack", "x").random()
    assert evidence.ctx.seed == derive(0, "attacker")
    assert (derive(0, "evidence", 3), derive(0, "attacker")) == (4631682564591198434, 1070856778197682838)


def test_a_salt_changes_every_key_and_seed_and_no_key_tells_it(ce, make_all):
    needs = Needs(answers="labels", training=True)
    salted = Population(ce.task, ce.dataset, ce.defense, 6, 0, "cpu", ce.store, salt=SALT)
    other = Population(ce.task, ce.dataset, ce.defense, 6, 0, "cpu", ce.store, salt=fresh_salt())
    drawn = []
    for each in (ce, salted, other):
        make_all(each)
        evidence = evidence_of(each, 3, needs, 1, each)
        drawn.append((evidence.rng("x").random(), evidence.ctx.seed, each.members(3).tobytes(), str(each.manifest(3))))
    assert all(len(set(column)) == 3 for column in zip(*drawn, strict=True))
    assert SALT not in str(salted.answers_manifest(3, 1))
    assert not any(SALT in path.read_text() for path in ce.store.root.rglob("*.json"))
    assert pickle.loads(pickle.dumps(salted)) == salted


def test_a_salt_shapes_training_too(store, make_all):
    """Who knows the noise of a training could take it out again, and with it all that differential privacy promises."""
    toy = toy_task(pool=40, epochs=1)
    answers = []
    for salt in ("", SALT):
        each = Population(toy, toy.load(), chain([IgnoresItsData()]), 2, 0, "cpu", store, salt=salt)
        make_all(each)  # trained on the same examples, whatever the half
        answers.append(each.answers(0, 1, "test").logits)
    assert not np.array_equal(*answers)


def test_what_an_attacker_keeps_is_kept_for_one_target_where_there_is_a_salt(ce, make_all):
    salted = Population(ce.task, ce.dataset, ce.defense, 6, 0, "cpu", ce.store, salt=SALT)
    make_all(salted)
    needs, examples, made = Needs(answers="labels", training=True), ce.dataset.role("reference"), []

    def make(ctx):
        made.append(ctx.seed)
        return {"drawn": ctx.rng("x").random(3)}

    for target in (0, 3, 0):
        evidence_of(salted, target, needs, 1, salted).ctx.kept("own", examples, {"a": 1}, make)
    assert len(made) == 2


def test_the_architecture_leads_to_no_membership(ce, make_all):
    make_all(ce)
    build = evidence_of(ce, 0, Needs(training=True), 1, ce).task.build
    assert build.func == ce.task.network
    assert not build.keywords
    assert build.args == (ce.dataset.shape, ce.dataset.classes)


def test_facts_are_read_release_by_release(ce, monkeypatch):
    class Made:
        def __init__(self, index):
            self.index = index

        def json(self, _name):
            return {"facts": {} if self.index else {"epsilon": "inf", "noise": "0.5"}}

    monkeypatch.setattr(type(ce), "artifact", lambda _self, index: Made(index))
    assert ce.facts() == [{"epsilon": math.inf, "noise": 0.5}] + [{}] * (ce.models - 1)
    assert ce.facts([3]) == [{}]
