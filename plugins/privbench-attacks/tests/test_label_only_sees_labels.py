"""The proof that a label-only attack cannot reach the target's logits."""

import contextlib
import types
from types import SimpleNamespace

import numpy as np
import pytest
from privbench_attacks.label_only import LabelOnly

from privbench.api import Evidence, Needs
from privbench.errors import UndeclaredEvidence
from privbench.stats import signals
from privbench.testing import synthetic_evidence

CODE = (type, types.ModuleType, types.FunctionType, types.CodeType)
"""Where the walk ends: classes, modules and functions are the program, not what it was handed."""

ATTACKS = [
    LabelOnly(),
    LabelOnly(grid=18),
    LabelOnly(method="noise", draws=3),
    LabelOnly(method="boundary", budget=150),
]


def parts(thing):
    """Yield all that an object holds: attributes, slots, items of containers, what a method is bound to."""
    if isinstance(thing, dict):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from thing
    elif isinstance(thing, np.ndarray):
        yield thing.base
        yield from thing.ravel() if thing.dtype == object else ()
    elif isinstance(thing, (types.MethodType, types.BuiltinMethodType)):
        yield thing.__self__
    with contextlib.suppress(AttributeError):
        yield from object.__getattribute__(thing, "__dict__").values()
    for slot in (name for cls in type(thing).__mro__ for name in np.atleast_1d(cls.__dict__.get("__slots__", ()))):
        if hasattr(thing, slot):
            yield getattr(thing, slot)
    for partial in ("func", "args", "keywords"):
        if type(thing).__name__ == "partial":
            yield getattr(thing, partial)


def reachable(root):
    """Return every object that is reachable from one without calling anything."""
    found, left = {}, [root]
    while left:
        thing = left.pop()
        if id(thing) in found or isinstance(thing, CODE):
            continue
        found[id(thing)] = thing
        left.extend(parts(thing))
    return list(found.values())


def tells(thing, logits):
    """Whether an object is an array that holds the logits, or what they are but for a shift, in any shape."""
    if not isinstance(thing, np.ndarray) or thing.dtype.kind != "f" or thing.size == 0:
        return False
    flat = np.unique(thing.astype(np.float64))
    values = np.unique(logits.astype(np.float64))
    return bool(np.isin(values[values != 0], flat).mean() > 0.01)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.method}-{attack.grid}")
def test_no_logits_can_be_reached(attack):
    logits = np.asarray(shown(attack.needs, answers="logits").logits)
    evidence = shown(attack.needs)
    assert np.array_equal(evidence.predictions, logits.argmax(axis=-1))  # it is the same target
    attack.score(evidence)  # nor does anything stay behind when it has been queried
    everything = reachable(evidence)
    assert any(thing is not evidence and isinstance(thing, np.ndarray) for thing in everything)
    assert not [thing for thing in everything if tells(thing, logits)]
    assert not [
        thing
        for thing in everything
        if isinstance(thing, np.ndarray) and thing.dtype.kind == "f" and thing.size == logits.size
    ]


def test_the_walk_finds_logits_where_there_are_some():
    evidence = synthetic_evidence(Needs(), leak=1.0)[0]
    logits = evidence.logits

    class Slotted:
        __slots__ = ("hidden",)

    slotted = Slotted()
    slotted.hidden = [{"deep": (logits[::-1].reshape(-1),)}]
    for holder in (slotted, SimpleNamespace(a=logits.copy()), [logits[:, :, ::2]].append, {"x": logits.T}):
        assert any(tells(thing, logits) for thing in reachable(holder))
    # Of evidence with logits the walk reaches the object that reads them.
    assert any(hasattr(thing, "logits") and thing is not evidence for thing in reachable(evidence))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.method}-{attack.grid}")
def test_nothing_that_reads_answers_is_held(attack):
    evidence = shown(attack.needs)
    holders = [thing for thing in reachable(evidence) if thing is not evidence and hasattr(type(thing), "logits")]
    assert not holders


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.method}-{attack.grid}")
def test_asking_for_logits_is_refused(attack):
    evidence = shown(attack.needs)
    with pytest.raises(UndeclaredEvidence):
        _ = evidence.logits
    with pytest.raises(UndeclaredEvidence):
        evidence.signals(signals.phi)
    for withheld in ("shadow_logits", "shadow_member", "reference", "model", "synthetic", "task", "ctx"):
        with pytest.raises(UndeclaredEvidence):
            getattr(evidence, withheld)


def test_queries_answer_integers():
    evidence = shown(LabelOnly().needs)
    answers = evidence.query(evidence.x[:7])
    assert answers.shape == (7,)
    assert np.issubdtype(answers.dtype, np.integer)
    assert np.issubdtype(evidence.predictions.dtype, np.integer)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.method}-{attack.grid}")
def test_targets_with_the_same_labels_get_the_same_scores(attack):
    """Two targets whose logits differ by a temperature, another one for every answer, are one to the attack."""
    plain, tempered = (attack.score(network(attack.needs, rng)) for rng in (None, np.random.default_rng(9)))
    assert np.array_equal(plain, tempered)
    assert len(np.unique(plain)) > 2


def shown(needs, answers="labels"):
    from dataclasses import replace

    return synthetic_evidence(replace(needs, answers=answers), leak=1.0, examples=60)[0]


def network(needs, rng, n=60):
    """Return evidence of a random two-layer net; with rng, its logits are multiplied by positive random numbers."""
    drawn = np.random.default_rng(0)
    x = drawn.random((n, 4, 4, 1), dtype=np.float32)
    first, second = drawn.normal(size=(16, 32)), drawn.normal(size=(32, 3))

    def logits(x):
        z = np.tanh((x.reshape(len(x), -1) - 0.5) @ first) @ second
        return (z if rng is None else z * rng.uniform(0.1, 10, (len(x), 1))).astype(np.float32)

    queries = needs.queries
    own = np.stack([logits(np.roll(x, query, axis=1)) for query in range(queries)], axis=1)
    labels = np.where(drawn.random(n) < 0.8, logits(x).argmax(axis=1), 0)
    return Evidence(
        needs, labels, SimpleNamespace(logits=own), classes=3, x=x, query=lambda _, asked: logits(asked), seed=4
    )
