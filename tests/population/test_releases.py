from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from privbench import seeds
from privbench.api import Release
from privbench.errors import CellFailed
from privbench.learn.graphs import TorchDispatchMode
from privbench.learn.inference import classifier
from privbench.learn.lanes import lane
from privbench.learn.training import train
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population import releases
from privbench.population.keeper import Keeper
from privbench.population.population import Population
from privbench.population.queries import ask
from privbench.population.releases import make
from privbench.store import fingerprint
from privbench.store.store import Store
from privbench.testing.tape import taped


@pytest.fixture
def ce(task, store):
    return Population(task, task.load(), resolve("defense", "ce"), 6, 4, "cpu", store)


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


def test_what_a_defense_is_lent_is_its_own_to_write(ce, monkeypatch):
    def fit(self, task, examples, ctx):
        for lent in (examples, ctx.reference, ctx.validation):
            lent.x[:] = 0
            lent.y[:] = 0
        return original(self, task, examples, ctx)

    original, before = type(ce.defense).fit, ce.dataset.fingerprint
    monkeypatch.setattr(type(ce.defense), "fit", fit)
    make(ce.missing([1])[0], lambda done, stage="": None)
    del ce.dataset.__dict__["fingerprint"]
    assert ce.dataset.fingerprint == before


class Tempered(nn.Module):
    """A net with a number that is not in the store, and weights in float64, which there are float32 once loaded."""

    def __init__(self, net, temperature=1.0):
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, x):
        return self.net(x.to(next(self.parameters()).dtype)) / self.temperature


@component
class Forgetful:
    """A defense whose model is another once it was read from the store."""

    name = "forgetful"
    paper = "none"

    def fit(self, task, examples, ctx):
        return Release(Tempered(train(task, examples, ctx).double(), temperature=9.0))

    def empty(self, task):
        return Tempered(classifier(task))


@pytest.mark.parametrize("defense", [resolve("defense", "ce"), Forgetful()])
def test_answers_are_those_of_the_stored_model_which_is_not_read_for_them(task, store, monkeypatch, defense, make_all):
    each = Population(task, task.load(), defense, 2, 0, "cpu", store)
    monkeypatch.setattr(Population, "model", lambda self, index: pytest.fail("read from the store"))
    make_all(each)
    monkeypatch.undo()
    for role in releases.ANSWERED_ROLES:
        want = ask(each.model(1), each.dataset.role(role).x, 1, device="cpu")
        assert each.answers(1, 1, role).logits.tobytes() == want.tobytes()


def test_several_numbers_of_queries_are_asked_at_once_to_the_same_bytes(store, tmp_path, monkeypatch, make_all):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (120, 8, 8), dtype=np.uint8), y=np.arange(120) % 2)
    images = resolve("task", "npz", {"path": str(tmp_path / "x.npz"), "epochs": 1, "model": "cnn"})
    together = Population(images, images.load(), resolve("defense", "ce"), 2, 0, "cpu", store)
    apart = replace(together, store=Store(tmp_path / "other"))
    asked = []
    monkeypatch.setattr(releases, "ask", lambda *args, **named: asked.append(args[2]) or ask(*args, **named))
    make_all(together, [1, 2, 18])
    assert asked == [18, 18, 1] * 2, "only the utility is measured on test examples"
    for queries in (1, 2, 18):
        make_all(apart, [queries])
        for role in releases.ANSWERED_ROLES:
            found, want = (each.answers(1, queries, role).logits for each in (together, apart))
            assert (found.shape, found.tobytes()) == (want.shape, want.tobytes())


def test_made_twice_gives_the_same_bytes_and_another_seed_gives_others(ce, task, tmp_path, make_all):
    def weights(root, seed):
        each = Population(task, ce.dataset, ce.defense, 2, seed, "cpu", Store(tmp_path / root))
        make_all(each)
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
    releases.fit(ce, 0, Keeper.of(ce), lambda done, stage="": None)
    assert calls == [True, True, True, False]  # who says that he needs no model sees no reference either


def test_work_that_was_kept_counts_as_if_it_were_done_again(ce, monkeypatch):
    def examples_of(ctx):
        return ctx.kept("slow", ce.dataset.role("pool"), {}, lambda inner: {"w": np.ones(1)}, model_free=True)

    times = iter(range(0, 1000, 50))
    monkeypatch.setattr(releases.time, "perf_counter", lambda: next(times))
    keeper, again = Keeper.of(ce), Keeper.of(ce)
    examples_of(releases.Context(keep=keeper))
    examples_of(releases.Context(keep=again))
    assert (keeper.saved, again.saved) == (0.0, 50.0)


def test_code_that_changes_during_a_run_is_found_out(ce):
    job = replace(ce.missing([1])[0], key="another")
    with pytest.raises(CellFailed, match="changed while the run was going on"):
        make(job, lambda done, stage="": None)
    assert ce.sound([0]) == []


def test_what_a_worker_has_read_of_the_source_is_read_again_if_it_has_changed(ce, monkeypatch):
    job = replace(ce.missing([1])[0], key="another")
    for edited in (False, True):
        before = fingerprint.core()
        monkeypatch.setattr(type(before), "are_edited", lambda _, edited=edited: edited)
        with pytest.raises(CellFailed):
            make(job, lambda done, stage="": None)
        assert (fingerprint.core() is before) != edited


# Lanes

TINY = {
    "ce": {},
    "relaxloss": {},
    "selena": {"models": 3, "held_out": 1},
    "fake-data": {"gan_steps": 6, "gan_batch": 16},
    "transform": {"gan_steps": 6, "gan_batch": 16},
    "dp-critic": {"gan_steps": 6, "gan_batch": 16},
}


def tiny(defense, store, **options):
    digits = resolve("task", "digits", {"epochs": 2, "hidden": (8,), "limit": 120, **options})
    return Population(digits, digits.load(), resolve("defense", defense, TINY[defense]), 4, 0, "cpu", store)


class Drawn(TorchDispatchMode):
    """Notes operations that draw from torch's global generators, and whether these are seeded."""

    def __init__(self):
        super().__init__()
        self.seeded, self.unseeded = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        generators = [each for each in (*args, *(kwargs or {}).values()) if isinstance(each, torch.Generator)]
        if torch.Tag.nondeterministic_seeded in func.tags and not generators:
            (self.seeded if seeds.are_seeded() else self.unseeded).add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("defense", TINY)
def test_built_in_code_draws_from_global_generators_only_while_they_are_seeded(defense, store):
    job = tiny(defense, store).missing([1])[0]
    with lane("cpu"), Drawn() as drawn:  # in a lane, a training does not seed them
        make(job, lambda done, stage="": None)
    assert drawn.seeded
    assert not drawn.unseeded


@pytest.mark.parametrize("model", ["cnn", "mobilenet_v3_small"])
def test_built_in_networks_draw_from_global_generators_only_while_they_are_seeded(model, store):
    options = {"model": model, "limit": 40, "epochs": 1, "hidden": (256,)}
    job = tiny("ce", store, **options).missing([1])[0]
    with lane("cpu"), Drawn() as drawn:
        make(job, lambda done, stage="": None)
    assert drawn.seeded
    assert not drawn.unseeded


@pytest.mark.parametrize("defense", ["ce", "fake-data", "dp-critic"])
def test_lanes_that_record_their_steps_make_the_same_bytes(defense, tmp_path):
    def in_a_lane(job):
        with lane("cpu"):
            make(job, lambda done, stage="": None)

    found = {}
    for lanes in (1, 4):
        each = tiny(defense, Store(tmp_path / str(lanes)), epochs=6)
        with taped() as tape, ThreadPoolExecutor(lanes) as threads:
            list(threads.map(in_a_lane, each.missing([1])))
        assert tape.replayed > 0
        assert not tape.refused
        found[lanes] = [{name: array.tobytes() for name, array in each.weights(i).items()} for i in range(each.models)]
    assert found[4] == found[1]
