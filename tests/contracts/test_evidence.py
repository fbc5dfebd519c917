from __future__ import annotations

import numpy as np
import pytest

from privbench.api import Examples, Needs
from privbench.contracts.context import Context
from privbench.contracts.evidence import Answered, Answers, Evidence
from privbench.errors import UndeclaredEvidence

N, S, Q, C = 6, 4, 2, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, C, N)
LOGITS = RNG.normal(size=(S + 1, N, Q, C)).astype(np.float32)
MEMBER = RNG.random((S, N)) < 0.5
X = RNG.integers(0, 255, (N, 4, 4, 1)).astype(np.uint8)


def total(logits, labels):
    return logits.sum(axis=-1, dtype=np.float64)


def evidence(needs, **options):
    answers = [Answers(lambda logits=logits: logits, LABELS) for logits in LOGITS]
    given = {
        "classes": C,
        "x": X,
        "reference": Answered(needs, LABELS, answers[0], answers[1:], x=X),
        "query": lambda shadow, x: LOGITS[0 if shadow is None else shadow + 1, : len(x), 0],
        "model": lambda: "the model",
        "synthetic": Examples(X, LABELS),
        "shadow_synthetic": lambda shadow: Examples(X[shadow:], LABELS[shadow:]),
        "task": "the task",
        "ctx": Context(7),
    }
    return Evidence(needs, LABELS, answers[0], answers[1:], MEMBER, **{**given, **options})


ASKED = {
    "x": lambda e: e.x,
    "logits": lambda e: e.logits,
    "signals": lambda e: e.signals(total),
    "shadow_logits": lambda e: e.shadow_logits,
    "shadow_signals": lambda e: e.shadow_signals(total),
    "shadow_member": lambda e: e.shadow_member,
    "reference": lambda e: e.reference,
    "query": lambda e: e.query(X),
    "shadow_query": lambda e: e.shadow_query(0, X),
    "model": lambda e: e.model,
    "synthetic": lambda e: e.synthetic,
    "shadow_synthetic": lambda e: e.shadow_synthetic(1),
    "task": lambda e: e.task,
    "ctx": lambda e: e.ctx,
}
GRANTS = {
    "x": Needs(examples=True),
    "shadow_logits": Needs(shadows="adaptive"),
    "shadow_signals": Needs(shadows="undefended"),
    "shadow_member": Needs(shadows="adaptive"),
    "reference": Needs(reference=True),
    "query": Needs(query=True),
    "shadow_query": Needs(query=True, shadows="adaptive"),
    "model": Needs(model=True),
    "synthetic": Needs(synthetic=True),
    "shadow_synthetic": Needs(synthetic=True, shadows="adaptive"),
    "task": Needs(training=True),
    "ctx": Needs(training=True),
}


def test_every_public_field_is_tried_here():
    always = {"labels", "predictions", "classes", "rng", "input_shape"}
    public = {name for name in {*dir(Evidence), *vars(evidence(Needs()))} if not name.startswith("_")}
    assert public == ASKED.keys() | always


@pytest.mark.parametrize("name", GRANTS)
def test_what_is_not_declared_is_withheld(name):
    with pytest.raises(UndeclaredEvidence, match="does not declare Needs"):
        ASKED[name](evidence(Needs()))


@pytest.mark.parametrize(("name", "needs"), GRANTS.items())
def test_what_is_declared_is_given(name, needs):
    assert ASKED[name](evidence(needs)) is not None


@pytest.mark.parametrize("name", ["logits", "signals"])
def test_a_label_only_attack_gets_no_logits(name):
    everything = Needs(answers="labels", shadows="adaptive", examples=True, reference=True, query=True, synthetic=True)
    with pytest.raises(UndeclaredEvidence, match="sees labels, no logits"):
        ASKED[name](evidence(everything))
    with pytest.raises(UndeclaredEvidence, match="sees labels, no logits"):
        ASKED[name](evidence(everything).reference)


@pytest.mark.parametrize("name", ["logits", "signals", "query"])
def test_an_attack_on_published_examples_gets_no_answers(name):
    with pytest.raises(UndeclaredEvidence, match="sees no answers of a model"):
        ASKED[name](evidence(Needs(answers="none", query=True, synthetic=True)))


def test_a_label_only_attack_gets_labels():
    found = evidence(Needs(answers="labels", query=True))
    np.testing.assert_array_equal(found.predictions, LOGITS[0].argmax(-1))
    np.testing.assert_array_equal(found.query(X), LOGITS[0, :, 0].argmax(-1))


def test_the_shape_of_an_input_is_public():
    assert evidence(Needs()).input_shape == (4, 4, 1)


def test_queries_reach_the_target_and_each_shadow():
    found = evidence(Needs(query=True, shadows="adaptive"))
    np.testing.assert_array_equal(found.query(X), LOGITS[0, :, 0])
    np.testing.assert_array_equal(found.shadow_query(2, X), LOGITS[3, :, 0])


@pytest.mark.parametrize("name", ["x", "logits", "shadow_member", "signals"])
def test_arrays_are_handed_out_read_only(name):
    array = ASKED[name](evidence(Needs(examples=True, shadows="adaptive")))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = array[1]


def test_labels_and_reference_are_read_only():
    found = evidence(Needs(reference=True))
    for array in (found.labels, found.reference.labels, found.reference.x, found.reference.logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


def test_shadows_answer_in_the_order_of_their_membership():
    found = evidence(Needs(shadows="adaptive"))
    np.testing.assert_array_equal(found.shadow_member, MEMBER)
    np.testing.assert_array_equal(found.shadow_logits, LOGITS[1:])
    np.testing.assert_array_equal(found.shadow_signals(total), LOGITS[1:].sum(-1, dtype=np.float64))


def test_signals_are_shared_between_the_targets_that_use_a_model():
    calls = []

    def counted(logits, labels):
        calls.append(1)
        return total(logits, labels)

    shared = Answers(lambda: LOGITS[0], LABELS)
    needs = Needs(shadows="adaptive")
    for _ in range(3):
        Evidence(needs, LABELS, shared, [shared], MEMBER[:1], classes=C).shadow_signals(counted)
    assert calls == [1]


def test_the_attacks_generator_follows_from_seed_and_purpose():
    draws = {
        (seed, purpose): evidence(Needs(), seed=seed).rng(purpose).random() for seed in (0, 1) for purpose in ("a", "b")
    }
    assert len(set(draws.values())) == 4
    assert evidence(Needs(), seed=1).rng("b").random() == draws[1, "b"]


def held(thing, seen):
    """Yield every array that can be reached through attributes, containers and closures."""
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    if isinstance(thing, np.ndarray):
        yield thing
        parts = [thing.base]
    elif isinstance(thing, dict):
        parts = [*thing.values()]
    elif isinstance(thing, (list, tuple, set)):
        parts = [*thing]
    else:
        parts = [*getattr(thing, "__dict__", {}).values(), *(getattr(thing, "__defaults__", None) or ())]
    for part in parts:
        yield from held(part, seen)


@pytest.mark.parametrize("extras", [{}, {"query": True, "examples": True}, {"reference": True}])
def test_label_only_evidence_holds_no_logits_of_the_target_not_even_privately(extras):
    needs = Needs(answers="labels", **extras)
    found = list(held(evidence(needs), {}))
    assert any(np.array_equal(array, LOGITS[0].argmax(axis=-1)) for array in found)
    assert not any(array.dtype.kind == "f" for array in found)
    assert any(array.dtype.kind == "f" for array in held(evidence(Needs(**extras)), {})), "the walk finds what is there"


def test_label_only_evidence_is_the_same_whatever_the_logits_behind_the_labels(monkeypatch):
    needs = Needs(answers="labels", query=True)
    before = evidence(needs)
    predictions, answered = before.predictions.copy(), before.query(X)
    scale = np.random.default_rng(1).uniform(0.1, 10, (S + 1, N, 1, 1)).astype(np.float32)
    monkeypatch.setitem(globals(), "LOGITS", LOGITS * scale)
    after = evidence(needs)
    assert (after.predictions == predictions).all()
    assert (after.query(X) == answered).all()
    assert predictions.dtype.kind == answered.dtype.kind == "i"
