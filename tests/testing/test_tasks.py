"""Every check of a task bites."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from torch import nn

from privbench.api import Dataset, Examples, Recipe, component, option
from privbench.testing import toy_task

LOADS = iter(range(1000))


@component
class TriedTask:
    """The toy task, with something wrong."""

    name: ClassVar[str] = "tried-task"
    fault: str = option("", "what is wrong")

    @property
    def recipe(self):
        return {"epochs": 2} if self.fault == "recipe" else Recipe(epochs=1)

    def load(self):
        fault, good = self.fault, toy_task(pool=200).load()
        x, y, roles = (
            good.examples.x.copy(),
            good.examples.y.copy(),
            [good.pool, good.reference, good.validation, good.test],
        )
        if fault == "overlap":
            roles[3] = roles[0][:24]
        if fault == "other-data":
            x[0, 0, 0, 0] = next(LOADS)
        if fault == "missing-class":
            roles[3] = roles[3][y[roles[3]] != 2]
        if fault == "empty":
            roles[2] = roles[2][:0]
        if fault == "shifted":
            x[roles[1]] = np.minimum(x[roles[1]], 160)
        if fault == "channels":
            x = x.transpose(0, 3, 1, 2)
        if fault == "pixels":
            x = x.astype(np.float32)
        if fault == "int32":
            y = y.astype(np.int32)
        if fault == "global":
            np.random.shuffle(np.arange(3))  # noqa: NPY002 - the cheat itself
        return Dataset(Examples(x, y), 3, *roles, name="tried")

    def network(self, shape, classes):
        if self.fault == "frozen-net":
            return nn.Flatten()
        net = toy_task().network(shape, classes + (self.fault == "wide"))
        return net.double() if self.fault == "double" else net


def test_an_honest_task_passes(failures):
    assert failures(TriedTask()) == {}


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("overlap", "data", "share examples; they must be disjoint"),
        ("other-data", "same-data", "returned other data"),
        ("global", "same-data", "uses the global random generator of NumPy"),
        ("missing-class", "every-class", "1 of 3 classes have no example in 'test': 2"),
        ("empty", "roles", "'validation' is empty"),
        ("shifted", "blind-roles", "separates reference from pool examples with AUC"),
        ("channels", "data", "8 channels; expected (height, width, 1 or 3)"),
        ("pixels", "data", "float32 images must be in [0, 1]"),
        ("int32", "data", "Labels are int32"),
        ("recipe", "recipe", "`recipe` is dict"),
        ("wide", "network", "4 inputs give (4, 4); expected (4, 3)"),
        ("frozen-net", "network", "4 inputs give (4, 64)"),
        ("double", "network", "does not take float32 inputs of shape (4, 1, 8, 8)"),
    ],
)
def test_a_faulty_task_is_caught(failure_of, fault, check, message):
    assert message in failure_of(TriedTask(fault=fault), check)
