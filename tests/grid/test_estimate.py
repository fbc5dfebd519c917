from __future__ import annotations

import dataclasses
import re
import statistics

import pytest

from privbench.api import Traits, option
from privbench.errors import Diverged
from privbench.grid.estimate import describe, estimate, time_steps
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population.ce import CrossEntropy
from privbench.population.population import MODEL
from privbench.run import Grid, plan, run


@component
class Slow:
    """Takes three times as long as it says."""

    name = "slow"
    traits = Traits(relative_cost=3.0)
    extra: float = option(0.0, "nothing")

    def fit(self, task, examples, ctx):
        return CrossEntropy().fit(task, examples, ctx)


def planned(task, store, *defenses, attacks=("confidence",), models=4):
    return plan(Grid([task], list(defenses), [resolve("attack", a) for a in attacks], models=models), store)


@pytest.fixture
def ce():
    return resolve("defense", "ce")


def test_nothing_is_trained_but_a_few_steps(task, store, inline, ce):
    (line,) = estimate(planned(task, store, ce), inline)
    assert (line.cached, line.to_train, line.to_query) == (0, 4, 0)
    assert line.basis == "timed steps"
    assert line.seconds == pytest.approx(4 * line.seconds_per_model)
    assert line.seconds > 0
    assert len(inline.ran) == 1  # the probe
    assert list(store.artifacts()) == []


def test_a_task_is_probed_once_and_defenses_scale_it(task, store, inline, ce):
    first, second = estimate(planned(task, store, ce, Slow()), inline)
    assert len(inline.ran) == 1
    assert second.seconds_per_model == pytest.approx(3 * first.seconds_per_model)
    assert second.basis == "timed steps x 3"


def test_what_is_in_the_store_is_counted_and_gives_the_times(task, store, inline, ce):
    list(run(Grid([task], [ce], [resolve("attack", "confidence")], models=4), store, inline))
    inline.ran.clear()
    (line,) = estimate(planned(task, store, ce, models=6), inline)
    assert (line.cached, line.to_train, line.to_query) == (4, 2, 0)
    assert line.basis == "4 models in the store"
    population = line.population
    seconds = [population.artifact(i).json("timing")["seconds"] for i in range(4)]
    assert line.seconds_per_model == pytest.approx(statistics.median(seconds))
    assert inline.ran == []


def test_when_all_is_there_nothing_is_left(task, store, inline, ce):
    list(run(Grid([task], [ce], [resolve("attack", "confidence")], models=4), store, inline))
    (line,) = estimate(planned(task, store, ce), inline)
    assert (line.cached, line.to_train, line.seconds) == (4, 0, 0.0)


def test_models_without_answers_are_to_be_queried(task, store, inline, ce):
    grid = planned(task, store, ce)
    (population,) = grid.populations
    list(run(Grid([task], [ce], [resolve("attack", "confidence")], models=4), store, inline))
    grid.populations[population].add(2)  # queries that were never asked
    (line,) = estimate(grid, inline)
    assert (line.cached, line.to_train, line.to_query) == (0, 0, 4)
    assert line.queries == (1, 2)
    assert all(store.find(MODEL, population.manifest(i)) for i in range(4))


def test_a_training_that_cannot_be_timed_says_why(task, store, inline, ce):
    wild = dataclasses.replace(task, lr=1e30)
    with pytest.raises(Diverged, match="lower learning rate"):
        estimate(planned(wild, store, ce), inline)


@pytest.mark.parametrize("before", [0.0, 5.0])
def test_epochs_are_scaled_and_what_comes_before_them_on_a_card_is_not(task, store, ce, monkeypatch, before):
    from privbench.grid import estimate as module

    clock = [0.0]

    def train(*_, recipe):
        clock[0] += before + recipe.epochs  # a second an epoch, of which all examples are one part

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr("privbench.learn.training.train", train)
    monkeypatch.setattr("privbench.learn.steps.recorded", lambda _device: before > 0)
    steps = {}
    for epochs in (3, 6):
        (population,) = planned(dataclasses.replace(task, epochs=epochs), store, ce).populations
        steps[epochs] = time_steps(population, lambda *_: None)
    assert steps == {3: before + 3.0, 6: before + 6.0}


def test_a_step_that_takes_long_is_the_only_one_that_is_timed(task, store, ce, monkeypatch):
    from privbench.grid import estimate as module

    clock, trained = [0.0], []

    def train(_task, examples, _ctx, recipe):
        trained.append(len(examples))
        clock[0] += 10.0 * recipe.epochs

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr("privbench.learn.training.train", train)
    monkeypatch.setattr("privbench.learn.steps.recorded", lambda _device: False)
    (population,) = planned(task, store, ce).populations
    batches = population.members(0).sum() / task.batch_size
    assert time_steps(population, lambda *_: None) == pytest.approx(10.0 * batches * task.epochs)
    assert trained == [task.batch_size]


def test_populations_are_described_as_on_the_command_line(task, store):
    (population,) = planned(task, store, resolve("defense", "relaxloss:alpha=0.5")).populations
    assert re.fullmatch(r"npz:.*path=.* / relaxloss:alpha=0.5", describe(population))
