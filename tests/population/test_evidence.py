import pickle

import numpy as np
import pytest

from privbench.api import Needs
from privbench.errors import UndeclaredEvidence
from privbench.population.evidence import evidence_of, parcel_of
from privbench.population.lending import Lending
from privbench.population.served import Query, Server, answer

ALL = Needs(
    queries=1, shadows="adaptive", examples=True, reference=True, query=True, model=True, synthetic=True, training=True
)


@pytest.fixture(scope="module")
def population(overfit):
    return overfit(4, seed=31337, epochs=2, width=8, folder="a-store-of-this-name")


def sent(population, needs, target=1):
    lending = Lending(population.store.temporary())
    return pickle.dumps(parcel_of(population, target, needs, 1, population, lending=lending))


@pytest.mark.parametrize("needs", [ALL, Needs(), Needs(shadows="adaptive"), Needs(answers="labels", query=True)])
def test_what_is_sent_leads_to_no_population_store_or_seed(population, needs):
    content = sent(population, needs)
    for word in (b"Population", b"Store", b"a-store-of-this-name", b"manifest", pickle.dumps(31337)[2:-1]):
        assert word not in content, word


def test_what_is_not_declared_is_not_sent(population):
    logits = population.answers(1, 1, "pool").logits
    parcel = pickle.loads(sent(population, Needs(answers="labels")))
    np.testing.assert_array_equal(parcel.pool.target, logits.argmax(axis=-1))
    assert np.ascontiguousarray(logits).tobytes() not in sent(population, Needs(answers="labels"))
    bare = pickle.loads(sent(population, Needs(answers="none")))
    assert (bare.pool.target, bare.pool.x, bare.pool.shadows, bare.shadow_member) == (None, None, (), None)
    assert (bare.reference, bare.net, bare.task, bare.synthetic) == (None, None, None, None)


def test_the_evidence_is_the_same_here_and_elsewhere(population):
    here = evidence_of(population, 1, ALL, 1, population)
    there = pickle.loads(sent(population, ALL)).evidence(Server(population, 1, ALL, population))
    for one, other in ((here, there), (here.reference, there.reference)):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(np.asarray(one.shadow_logits), np.asarray(other.shadow_logits))
    np.testing.assert_array_equal(here.shadow_member, there.shadow_member)
    x = here.x[:5]
    np.testing.assert_array_equal(here.query(x), there.query(x))
    np.testing.assert_array_equal(here.shadow_query(1, x), there.shadow_query(1, x))
    assert all((a == b).all() for a, b in zip(here.model.parameters(), there.model.parameters(), strict=True))
    assert (here.rng().integers(99, size=9) == there.rng().integers(99, size=9)).all()
    assert (here.classes, here.input_shape, here.ctx.seed) == (there.classes, there.input_shape, there.ctx.seed)


def test_large_answers_are_links_that_are_removed(population, monkeypatch):
    monkeypatch.setattr("privbench.population.lending.LARGEST", 0)
    lending = Lending(population.store.temporary())
    parcel = pickle.loads(
        pickle.dumps(parcel_of(population, 0, Needs(shadows="adaptive"), 1, population, lending=lending))
    )
    np.testing.assert_array_equal(parcel.pool.target.logits, population.answers(0, 1, "pool").logits)
    tops = [path for path in (population.store.root / ".tmp").iterdir() if path.is_dir()]
    assert [len(list(top.iterdir())) for top in tops] == [3], "the target, and the two shadows of the other pair"
    lending.close()
    assert not any(top.exists() for top in tops)


@pytest.mark.parametrize("request_", [("query", None, np.zeros((1, 8))), ("weights",), ("kept", {}), ("keep", {}, {})])
def test_only_what_is_declared_is_answered(population, request_):
    with pytest.raises(UndeclaredEvidence, match=f"asks for '{request_[0]}'"):
        Server(population, 0, Needs(), population)(request_)


def test_queries_can_be_answered_by_another_process(population):
    asked = []

    def ask(query):
        asked.append(query)
        return answer(query)

    server = Server(population, 0, Needs(query=True, shadows="adaptive"), population, ask=ask)
    x = population.dataset.role("pool").x[:4]
    expected = Server(population, 0, Needs(query=True, shadows="adaptive"), population)
    for shadow in (None, 0, 1):
        np.testing.assert_array_equal(server(("query", shadow, x)), expected(("query", shadow, x)))
    assert [type(query) for query in asked] == [Query] * 3
    assert asked[0].model == 0
    assert {asked[1].model, asked[2].model} == {2, 3}


def test_an_attack_keeps_results_under_its_own_key_alone(population):
    needs = Needs(training=True)
    one, other = (Server(population, 0, needs, population, owner={"name": name}) for name in ("one", "other"))
    key = {"inputs": "", "options": {}, "model_free": True, "name": "net", "seed": 1, "device": "cpu", "source": ""}
    one(("keep", key, {"w": np.ones(2)}))
    np.testing.assert_array_equal(one(("kept", key))["w"], [1, 1])
    assert other(("kept", key)) is None
    assert other(("kept", {**key, "attack": {"name": "one"}})) is None, "nor by claiming to be it"
