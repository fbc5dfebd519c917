"""On a card, or a tape of operations that stands for its graphs: all these defenses train by replayed steps."""

import pytest

from privbench.api import Blueprint, Context
from privbench.testing import one_by_one, resolve, taped, toy_task


@pytest.fixture(scope="module")
def toy():
    """A small task, its members, and examples outside the pool."""
    task = toy_task(epochs=5)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, lambda: task.network(shape, classes))
    return blueprint, data.role("pool"), data.role("validation")


def outcome(toy, word, device):
    task, members, validation = toy
    release = resolve("defense", word).fit(task, members, Context(seed=1, device=device, validation=validation))
    return [tensor.tolist() for tensor in release.model.state_dict().values()], release.facts


@pytest.mark.parametrize(
    "word",
    [
        "adversarial-regularisation:gain=log,warmup=2,warmup_steps=3",
        "adversarial-regularisation:warmup=0",
        "confidence-penalty",
        "crl",
        "crl:preset=official",
        "distillation",
        "early-stopping:epochs=4",
        "early-stopping:patience=4",
        "hamp",
        "label-smoothing",
        "mixup",
    ],
)
def test_replayed_steps_equal_steps(toy, word, device):
    with one_by_one():
        plain = outcome(toy, word, device)
    with taped(device) as tape:
        assert outcome(toy, word, device) == plain
    assert tape.replayed > 0
    assert not tape.refused
