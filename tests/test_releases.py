import numpy as np
import pytest

from privbench import releases
from privbench.plugins import resolve
from privbench.population import Population
from privbench.releases import make


@pytest.fixture
def ce(task, store):
    return Population(task, task.load(), resolve("defense", "ce"), 6, 0, "cpu", store)


def _make_all(each, queries=(1,)):
    for job in each.missing(queries):
        make(job, lambda done, stage="": None)


def test_a_release_sees_its_own_half_only(ce, monkeypatch):
    seen = []

    def fit(self, task, examples, ctx):
        seen.append((examples, ctx))
        return original(self, task, examples, ctx)

    original = type(ce.defense).fit
    monkeypatch.setattr(type(ce.defense), "fit", fit)
    make(ce.missing([1])[3], lambda done, stage="": None)
    (examples, context) = seen[0]
    pool = ce.dataset.role("pool")
    assert np.array_equal(examples.x, pool.x[ce.members(3)])
    assert np.array_equal(context.reference.x, ce.dataset.role("reference").x)
    assert np.array_equal(context.validation.x, ce.dataset.role("validation").x)


def test_made_twice_gives_the_same_bytes_and_another_seed_gives_others(ce, task, tmp_path):
    from privbench.store import Store

    def weights(root, seed):
        each = Population(task, ce.dataset, ce.defense, 2, seed, "cpu", Store(tmp_path / root))
        _make_all(each)
        return {name: array.tobytes() for name, array in each.artifact(1).tensors("weights").items()}

    assert weights("a", 0) == weights("b", 0)
    assert weights("a", 0) != weights("c", 1)


def test_inner_artifacts_are_made_once(ce):
    calls = []

    def fit(task, examples, ctx):
        def ensemble(inner):
            calls.append(inner.reference is not None)
            return {"weights": np.ones(3, dtype=np.float32)}

        first, second = (ctx.stage(s).kept("ensemble", examples, {"M": 5}, ensemble) for s in "ab")
        assert np.array_equal(first["weights"], second["weights"])
        ctx.kept("ensemble", examples, {"M": 6}, ensemble)
        ctx.kept("ensemble", examples[1:], {"M": 6}, ensemble)
        ctx.kept("ensemble", examples, {"M": 5}, ensemble, model_free=True)
        ctx.kept("ensemble", examples, {"M": 5}, ensemble, model_free=True)
        return real.fit(task, examples, ctx)

    real = ce.defense
    ce.__dict__["defense"] = type("Spy", (), {"fit": staticmethod(fit), "name": "spy"})()
    ce.__dict__["_shaped_by"] = {"defense": "spy"}
    ce.__dict__["_shaped_by"] |= {"task": "toy"}
    releases.fit(ce, 0, releases.Keeper(ce), lambda done, stage="": None)
    assert calls == [True, True, True, False]  # who says that he needs no model sees no reference either


def test_work_that_was_kept_counts_as_if_it_were_done_again(ce, monkeypatch):
    def examples_of(ctx):
        return ctx.kept("slow", ce.dataset.role("pool"), {}, lambda inner: {"w": np.ones(1)}, model_free=True)

    times = iter(range(0, 1000, 50))
    monkeypatch.setattr(releases.time, "perf_counter", lambda: next(times))
    keeper, again = releases.Keeper(ce), releases.Keeper(ce)
    examples_of(releases.Context(keep=keeper))
    examples_of(releases.Context(keep=again))
    assert (keeper.saved, again.saved) == (0.0, 50.0)


def test_code_that_changes_during_a_run_is_found_out(ce):
    from dataclasses import replace

    from privbench.errors import CellFailed

    job = replace(ce.missing([1])[0], key="another")
    with pytest.raises(CellFailed, match="changed while the run was going on"):
        make(job, lambda done, stage="": None)
    assert ce.artifact(0) is None
