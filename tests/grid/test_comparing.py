"""What an audit compares is asked in its own process, which sends differences and no data."""

import dataclasses
import importlib
import os
import sys

import pytest

from privbench.api import component
from privbench.errors import CellFailed, WorkerDied
from privbench.grid.comparing import compared
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.population.released import ReleasedShadows
from privbench.store.store import Store
from privbench.testing.toy import ToyTask

SOURCE = """
import dataclasses, os
from typing import ClassVar
from privbench.api import component
from privbench.plugins import resolve
from privbench.population import Population
from privbench.testing.toy import ToyTask

@component
class Comparing:
    name: ClassVar[str] = "comparing"
    how: str = "defense"

    def compared(self, population):
        if self.how == "exits":
            os._exit(3)
        if self.how == "nonsense":
            return [population, 5]
        if self.how == "nothing":
            return None
        changes = {
            "defense": lambda: {"defense": resolve("defense", "relaxloss:alpha=0.5")},
            "settings": lambda: {"seed": 7, "models": 2, "inputs": "transformed", "skipped": (0, 1)},
            "task": lambda: {"task": ToyTask(pool=24), "dataset": ToyTask(pool=24).load()},
            "data": lambda: {"dataset": ToyTask(pool=24).load()},
        }
        return [population, dataclasses.replace(population, **changes[self.how]())]

    def measure(self, population, ctx):
        raise NotImplementedError
"""


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A function that makes an audit of a module that other processes find, as a plugin's."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "comparing_audit.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("comparing_audit")
    yield module.Comparing
    sys.path.remove(str(folder))
    del sys.modules["comparing_audit"]


@pytest.fixture
def population(store):
    task = ToyTask()
    return Population(task, task.load(), resolve("defense", "ce"), 4, 3, "cpu", store)


def test_a_population_with_other_fields_is_made_here_of_the_same_data(make, population, monkeypatch):
    monkeypatch.setattr(ToyTask, "load", lambda _: pytest.fail("the data were loaded here"))
    same, other = compared(make(), population)
    assert same == population
    assert other == dataclasses.replace(population, defense=resolve("defense", "relaxloss:alpha=0.5"))
    _, other = compared(make(how="settings"), population)
    assert (other.seed, other.models, other.inputs, other.skipped) == (7, 2, "transformed", (0, 1))
    assert other.dataset is population.dataset
    assert other.store is population.store


def test_a_population_of_another_task_has_its_data(make, population):
    _, other = compared(make(how="task"), population)
    assert other.task == ToyTask(pool=24)
    assert other.dataset.fingerprint == ToyTask(pool=24).load().fingerprint


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nonsense", "`compared` gives int; expected populations that are made with dataclasses.replace"),
        ("nothing", "TypeError: 'NoneType' object is not iterable"),
        ("data", "a population with other data than those of toy"),
    ],
)
def test_what_is_no_population_of_the_run_is_refused(make, population, how, reason):
    with pytest.raises(CellFailed, match=reason):
        compared(make(how=how), population)


def test_an_audit_that_exits_is_one_line(make, population):
    with pytest.raises(WorkerDied, match="exit code 3"):
        compared(make(how="exits"), population)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda each: {"store": Store(os.devnull)}, "another store"),
        (lambda each: {"defense": ReleasedShadows(each, 0)}, "shadows on released data"),
    ],
)
def test_what_no_run_makes_for_an_audit_is_refused_here_too(population, changes, reason):
    @component
    class Local:
        """An audit of this module, which runs here."""

        name = "local"

        def compared(self, population):
            return [dataclasses.replace(population, **changes(population))]

    with pytest.raises(CellFailed, match=reason):
        compared(Local(), population)
