"""On a card, whose graphs a tape of operations stands for: every training of these defenses is one of replayed steps."""

import pytest

from privbench.api import Blueprint, Context
from privbench.testing import resolve, taped, toy_task


@pytest.fixture(scope="module")
def toy():
    """A small task, its members and a context with examples outside the pool."""
    task = toy_task(epochs=5)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, lambda: task.network(shape, classes))
    return blueprint, data.role("pool"), Context(seed=1, validation=data.role("validation"))


def outcome(toy, word):
    release = resolve("defense", word).fit(*toy)
    return [tensor.tolist() for tensor in release.model.state_dict().values()], release.facts


@pytest.mark.parametrize(
    "word",
    [
        "confidence-penalty",
        "crl",
        "crl:preset=official",
        "distillation",
        "early-stopping:epochs=4",
        "early-stopping:patience=4",
        "hamp",
        "label-smoothing",
    ],
)
def test_replayed_steps_equal_steps(toy, word, caplog):
    plain = outcome(toy, word)
    with taped() as tape:
        assert outcome(toy, word) == plain
    assert tape.replayed > 0
    assert not caplog.messages  # which would say that steps are not replayed, and why
