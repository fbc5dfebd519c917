"""Tasks that fail to load spoil their own cells; data come as plain arrays from a process of the task."""

import importlib
import os
import sys

import numpy as np
import pytest

from privbench.errors import CellFailed, DataError, TimedOut, WorkerDied
from privbench.grid import audits, loading
from privbench.grid.estimate import WILL_FAIL, foreseen
from privbench.plugins.loading import resolve
from privbench.records import audit_record
from privbench.records.record import load
from privbench.run import Grid, plan, run
from privbench.testing.toy import ToyTask

SOURCE = """
import os, sys, time
from typing import ClassVar
import numpy as np
from privbench.api import Dataset, Examples, component
from privbench.errors import DataError
from privbench.testing.toy import ToyTask

ROLES = ("pool", "reference", "validation", "test")
TOY = ToyTask(pool=48, epochs=1)

def lazy(dataset, folder):
    np.save(folder / "x.npy", dataset.examples.x)
    x = np.load(folder / "x.npy", mmap_mode="r")
    return Dataset(Examples(x, dataset.examples.y), dataset.classes, *map(dataset.rows, ROLES))

class Own(Dataset):
    pass

@component
class Misbehaving:
    name: ClassVar[str] = "misbehaving"
    how: str = "nothing"
    where: str = ""

    @property
    def recipe(self):
        return {"bad-recipe": lambda: None, "exits-in-recipe": lambda: os._exit(3)}.get(self.how, lambda: TOY.recipe)()

    def load(self):
        from pathlib import Path
        if self.where:
            with open(Path(self.where) / "loaded", "a") as file:
                file.write(f"{os.getpid()}\\n")
        good = TOY.load()
        does = {
            "raises": lambda: 1 / 0,
            "exits": lambda: sys.exit("bye"),
            "exits-hard": lambda: os._exit(3),
            "returns-text": lambda: "data",
            "hangs": lambda: time.sleep(600),
            "missing": lambda: (_ for _ in ()).throw(DataError("no file x.npz")),
            "lazy": lambda: lazy(good, Path(self.where)),
            "own-class": lambda: Own(good.examples, good.classes, *map(good.rows, ROLES)),
        }
        return does.get(self.how, lambda: good)()

    def network(self, shape, classes):
        if self.how == "bad-network":
            os._exit(3)
        if self.how == "draws-and-fails":
            raise DataError("no such layer")
        return TOY.network(shape, classes)
"""
FAILING = {
    "raises": "ZeroDivisionError: division by zero (misbehaving_task.py:",
    "exits": "SystemExit: bye (misbehaving_task.py:",
    "exits-hard": "exit code 3",
    "returns-text": "'misbehaving': `load` gives str; expected privbench.api.Dataset.",
    "bad-recipe": "'misbehaving': `recipe` gives NoneType; expected privbench.api.Recipe.",
    "exits-in-recipe": "exit code 3",
    "bad-network": "exit code 3",
}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A function that makes a task of a module that other processes find, as a plugin's."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "misbehaving_task.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("misbehaving_task")
    yield module.Misbehaving
    sys.path.remove(str(folder))
    del sys.modules["misbehaving_task"]


def grid_of(*tasks, defenses=("ce", "relaxloss"), attacks=("confidence", "inversion")):
    chosen = [resolve("defense", each) for each in defenses], [resolve("attack", each) for each in attacks]
    return Grid(list(tasks), *chosen, models=4, targets=2, seed=3)


@pytest.mark.parametrize("how", FAILING)
def test_a_task_that_fails_is_one_line_if_it_is_the_only_one(make, store, how):
    with pytest.raises(CellFailed) as raised:
        plan(grid_of(make(how=how)), store)
    assert FAILING[how] in str(raised.value)


@pytest.mark.parametrize("how", FAILING)
def test_a_task_that_fails_beside_another_spoils_its_own_cells_alone(make, task, store, how):
    bad = make(how=how)
    planned = plan(grid_of(bad, task), store)
    assert {each.task.name for each in planned.populations} == {task.name}
    told = {(each.where, tuple(each.attacks)) for each in foreseen(planned) if each.verdict == WILL_FAIL}
    if how == "bad-network":  # its data are known, and with them its cells
        assert [cell.impossible != "" for cell in planned.cells] == [True] * 4 + [False] * 4
    else:
        assert len(planned.cells) == 4
        assert told == {(f"misbehaving:how={how}", ("confidence", "inversion"))}
        assert FAILING[how] in str(planned.unusable[bad])


def test_cells_of_a_task_that_fails_become_records_and_the_others_are_trained(make, task, store, inline, tmp_path):
    bad = make(how="raises")
    records = list(run(grid_of(bad, task), store, inline, out=tmp_path / "out", command="privbench run"))
    assert [(r.task.name, r.defense.name, r.attack.name, r.status) for r in records] == [
        ("misbehaving", "ce", "confidence", "failed"),
        ("misbehaving", "ce", "inversion", "failed"),
        ("misbehaving", "relaxloss", "confidence", "failed"),
        ("misbehaving", "relaxloss", "inversion", "failed"),
        ("npz", "ce", "confidence", "ok"),
        ("npz", "ce", "inversion", "n/a"),
        ("npz", "relaxloss", "confidence", "ok"),
        ("npz", "relaxloss", "inversion", "n/a"),
    ]
    assert all(record.reason.startswith("ZeroDivisionError: division by zero (") for record in records[:4])
    assert [record.family for record in records[:2]] == ["membership", "reconstruction"]
    assert len(inline.ran) == 8
    assert {each.digest for each in load([tmp_path / "out"])} == {each.digest for each in records}


def test_audits_of_a_task_that_fails_become_records_and_the_others_are_measured(make, task, store, inline, tmp_path):
    grid, chosen = (
        grid_of(make(how="exits-hard"), task, attacks=()),
        resolve("audit", "epsilon:attack=confidence"),
    )
    failed, *others = audits.conduct(grid, [chosen], store, inline, out=tmp_path / "out")
    assert failed.status == "failed"
    assert "exit code 3" in failed.reason
    assert [(each.task.name, each.defense.name) for each in (failed, *others)] == [
        ("misbehaving", "ce"),
        ("misbehaving", "relaxloss"),
        ("npz", "ce"),
        ("npz", "relaxloss"),
    ]
    assert len(audit_record.load([tmp_path / "out"])) == 4


def test_data_that_are_missing_refuse_the_whole_grid(make, task, store):
    with pytest.raises(DataError, match=r"^no file x\.npz"):
        plan(grid_of(task, make(how="missing")), store)
    with pytest.raises(DataError, match=r"^no such layer"):
        plan(grid_of(task, make(how="draws-and-fails")), store)


def test_where_all_tasks_fail_the_first_one_says_why(make, store):
    with pytest.raises(WorkerDied, match=r"^misbehaving: The worker process ended with exit code 3"):
        plan(grid_of(make(how="exits-hard"), make(how="raises")), store)
    with pytest.raises(WorkerDied, match=r"^misbehaving: The worker process ended with exit code 3"):
        plan(grid_of(make(how="bad-network"), make(how="raises")), store)


def test_loading_that_takes_too_long_is_stopped(make, task, store):
    planned = plan(grid_of(make(how="hangs"), task), store, timeout=3.0)
    (why,) = planned.unusable.values()
    assert isinstance(why, TimedOut)
    assert "after 3 s; see --timeout" in str(why)


@pytest.mark.parametrize("large", [True, False])
def test_data_are_loaded_once_in_a_process_of_the_task(make, tmp_path, monkeypatch, large):
    monkeypatch.setattr(loading, "LARGE", 0 if large else loading.LARGE)
    dataset = loading.load(make(where=str(tmp_path)))
    (process,) = (tmp_path / "loaded").read_text().split()
    assert int(process) != os.getpid()
    assert dataset.fingerprint == ToyTask(pool=48, epochs=1).load().fingerprint
    assert type(dataset.examples.x) is np.ndarray
    assert dataset.name == "toy"
    dataset.examples.x[0] = 0  # nobody else's


@pytest.mark.parametrize("how", ["lazy", "own-class"])
def test_data_that_are_no_plain_arrays_are_loaded_here(make, tmp_path, how):
    dataset = loading.load(make(how=how, where=str(tmp_path)))
    apart, here = map(int, (tmp_path / "loaded").read_text().split())
    assert apart != here == os.getpid()
    assert dataset.fingerprint == loading.load(make()).fingerprint
