"""A property that exits or hangs fails the cells of its component in one line."""

import importlib
import re
import sys
from typing import ClassVar

import pytest

from privbench.api import Traits, component, option
from privbench.builtin.defenses.transform import Transform
from privbench.errors import CellFailed, UsageError
from privbench.grid import audits, declared
from privbench.plugins.loading import Catalogue, Registered, resolve
from privbench.population.composition import Chain
from privbench.run import Grid, plan, run

SOURCE = """
import os, time
from typing import ClassVar
from privbench.api import Needs, Traits, component
from privbench.population.ce import CrossEntropy

def does(how):
    if how == "exits":
        os._exit(3)
    if how == "hangs":
        time.sleep(600)
    if how == "raises":
        1 / 0

@component
class Attack:
    name: ClassVar[str] = "declaring"
    how: str = "nothing"
    of: str = "needs"

    @property
    def needs(self):
        if self.of == "needs":
            does(self.how)
        return Needs()

    @property
    def threshold(self):
        if self.of == "threshold":
            does(self.how)
        return 0.5

    def score(self, evidence):
        return evidence.target.logits[:, 0].max(axis=-1)

@component
class Defense:
    name: ClassVar[str] = "declaring"
    how: str = "nothing"

    @property
    def traits(self):
        does(self.how)
        return Traits()

    def fit(self, task, examples, ctx):
        return CrossEntropy().fit(task, examples, ctx)
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """A module that other processes find, as a plugin's."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "declaring_module.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("declaring_module")
    sys.path.remove(str(folder))
    del sys.modules["declaring_module"]


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch):
    monkeypatch.setattr(declared, "tried", {})


def grid_of(task, defenses=(), attacks=(), names=("confidence",)):
    chosen = [resolve("attack", each) for each in names]
    return Grid([task], [resolve("defense", "ce"), *defenses], [*chosen, *attacks], models=2, targets=2)


@pytest.mark.parametrize("of", ["needs", "threshold"])
@pytest.mark.parametrize("end", [("exits", "exit code 3"), ("hangs", "after 3 s")])
def test_an_attack_whose_declarations_end_fails_its_cells(request, module, task, of, end):
    how, reason = end
    store, inline = request.getfixturevalue("store"), request.getfixturevalue("inline")
    bad = module.Attack(how=how, of=of)
    planned = plan(grid_of(task, attacks=[bad], names=["correctness"]), store, timeout=3.0)
    assert [bool(cell.impossible) for cell in planned.cells] == [False, True]
    assert planned.cells[1].impossible.startswith("asked for its `needs`, `threshold` or `traits`: ")
    assert reason in planned.cells[1].impossible
    good, failed = run(grid_of(task, attacks=[bad], names=["correctness"]), store, inline)
    assert (good.status, failed.status) == ("ok", "failed")
    assert reason in failed.reason


def test_a_defense_whose_traits_end_fails_its_cells_alone_or_in_a_chain(module, task, store):
    bad = module.Defense(how="exits")
    both = [bad, Chain((Transform(), bad))]
    planned = plan(grid_of(task, defenses=both, names=["correctness", "gan-leaks"]), store)
    assert [bool(cell.impossible) for cell in planned.cells] == [False] * 2 + [True] * 4
    assert planned.cells[-1].impossible.startswith("declaring: asked for its ")
    assert {each.defense.name for each in planned.populations} == {"ce"}
    audit = resolve("audit", "epsilon:attack=correctness")
    _, benches = audits.plan(grid_of(task, defenses=both), [audit], store)
    assert [bench.impossible is not None for bench in benches] == [False, True, True]


def test_where_there_is_no_other_it_is_an_error(module, task, store):
    with pytest.raises(UsageError, match=r"^declaring: asked for its `needs`, `threshold` or `traits`: The worker "):
        plan(Grid([task], [resolve("defense", "ce")], [module.Attack(how="exits")], models=2), store)


def test_what_is_raised_is_told_with_its_line(module, task, store):
    planned = plan(grid_of(task, attacks=[module.Attack(how="raises")], names=["correctness"]), store)
    assert planned.cells[1].impossible.startswith("ZeroDivisionError: division by zero (declaring_module.py:")


def test_what_was_tried_is_not_tried_again(module, monkeypatch):
    declared.try_all({"attack": [module.Attack(how="exits")]})
    monkeypatch.setattr(declared, "LocalProcesses", lambda *_, **__: pytest.fail("a process was started"))
    declared.try_all({"attack": [module.Attack(how="exits"), resolve("attack", "lira:mode=offline")]})
    with pytest.raises(CellFailed, match="exit code 3"):
        declared.check(module.Attack(how="exits"))


def test_a_plugins_default_was_tried_with_the_plugin(module, monkeypatch):
    known = {("attack", "declaring"): Registered("attack", "declaring", module.Attack, "p", "1")}
    monkeypatch.setattr(declared, "catalogue", lambda: Catalogue(components=known))
    with monkeypatch.context() as patch:
        patch.setattr(declared, "LocalProcesses", lambda *_, **__: pytest.fail("a process was started"))
        declared.try_all({"attack": [module.Attack()]})
    declared.try_all({"attack": [module.Attack(of="threshold")]})
    assert len(declared.tried) == 1


@component
class Wrong:
    """A defense whose traits fail, or are none."""

    name: ClassVar[str] = "wrong"
    what: int = option(0, "to return")

    def fit(self, task, examples, ctx):
        raise NotImplementedError

    @property
    def traits(self):
        return {"relative_cost": 2} if self.what else Traits(relativ_cost=2)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (1, r"wrong: `traits` is \{'relative_cost': 2\}; expected privbench.api.Traits\.$"),
        (0, r"wrong: `traits`: TypeError: Traits has no 'relativ_cost'\. Did .*\.py:\d+\)$"),
    ],
)
def test_traits_that_fail_or_are_none_fail_their_cells_before_anything_is_trained(task, store, what, reason):
    for alone in (Wrong(what=what), Chain((Transform(), Wrong(what=what)))):
        with pytest.raises(UsageError, match=reason):
            plan(Grid([task], [alone], [resolve("attack", "confidence")], models=2), store)
    planned = plan(grid_of(task, defenses=[Wrong(what=what)], names=["correctness"]), store)
    assert planned.cells[0].impossible == ""
    assert re.match(reason, planned.cells[1].impossible)
    assert len(planned.jobs()) == 2
