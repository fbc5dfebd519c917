import contextlib
import dataclasses

import pytest

from privbench.errors import CannotWrite, CellFailed
from privbench.executors.local import LocalProcesses
from privbench.grid.making import Making
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population import releases
from privbench.population.population import ANSWERS, MODEL, Job
from privbench.run import Grid, plan, run
from privbench.store.store import Store


@component
class Failing:
    """Cannot be trained."""

    name = "failing"
    paper = "none"

    def fit(self, task, examples, ctx):
        raise CellFailed("no luck")


class Log:
    """A listener that notes what happens, in order."""

    def __init__(self):
        self.heard = []

    def planned(self, plan):
        self.total = len(plan.jobs())

    def progress(self, job, done, stage):
        pass

    def made(self, outcome):
        self.heard.append((outcome.job.population.defense.name, outcome.job.index))
        assert outcome.index < self.total

    def scoring(self, cell, done):
        pass

    def scored(self, cell, record):
        self.heard.append((record.defense.name, record.attack.name))


def grid(task, defenses, attacks, models=4):
    made = [resolve("defense", d) if isinstance(d, str) else d for d in defenses]
    return Grid([task], made, [resolve("attack", a) for a in attacks], models=models, seed=2)


def test_a_population_is_scored_before_the_next_is_made(task, store, inline):
    log = Log()
    list(run(grid(task, ["ce", "relaxloss"], ["confidence", "lira"]), store, inline, listener=log))
    assert log.heard == [(name, what) for name in ("ce", "relaxloss") for what in (0, 1, 2, 3, "confidence", "lira")]


def test_a_cell_waits_for_all_populations_that_it_rests_on(task, store, inline):
    log = Log()
    list(run(grid(task, ["relaxloss"], ["confidence", "lira:shadows=undefended"]), store, inline, listener=log))
    assert log.heard[8:] == [("relaxloss", "confidence"), ("relaxloss", "lira")], "and costs compare with ce"


def test_costs_are_compared_with_undefended_models_of_the_same_run_wherever_they_stand_in_it(task, store, inline):
    defended, undefended = run(grid(task, ["relaxloss", "ce"], ["confidence"]), store, inline)
    assert defended.cost.relative_to_ce is not None
    assert undefended.cost.relative_to_ce == 1


def test_a_population_that_fails_later_spoils_no_cell_that_was_scored(task, store, inline):
    records = list(run(grid(task, ["ce", Failing(), "relaxloss"], ["confidence"]), store, inline))
    assert [(r.defense.name, r.status) for r in records] == [("ce", "ok"), ("failing", "failed"), ("relaxloss", "ok")]
    assert records[1].reason == "failing model 0: no luck"


class Watched:
    """An executor that tells whether its work was stopped, and may lose some of it."""

    timeout = 0.0

    def __init__(self, inner, lost=()):
        self.inner, self.lost, self.stopped = inner, lost, 0

    @contextlib.contextmanager
    def pool(self, on_progress=None):
        with self.inner.pool(on_progress) as pool:
            outcomes = pool.outcomes
            pool.outcomes = lambda: (outcome for outcome in outcomes() if outcome.index not in self.lost)
            try:
                yield pool
            finally:
                self.stopped += 1


def test_whoever_takes_no_more_records_stops_the_work(task, store, inline):
    executor = Watched(inline)
    records = run(grid(task, ["ce", "relaxloss"], ["confidence"]), store, executor)
    next(records)
    assert (len(inline.ran), executor.stopped) == (4, 0)
    records.close()
    assert (len(inline.ran), executor.stopped) == (4, 1)


def test_what_ends_the_run_stops_the_work(task, store, inline, monkeypatch):
    def full(job, report):
        raise CannotWrite("the disk is full")

    monkeypatch.setattr(releases, "make", full)
    executor = Watched(inline)
    with pytest.raises(CannotWrite):
        list(run(grid(task, ["ce"], ["confidence"]), store, executor))
    assert (len(inline.ran), executor.stopped) == (1, 1)


def test_an_executor_that_loses_jobs_keeps_nobody_waiting(task, store, inline):
    planned = plan(grid(task, ["ce", "relaxloss"], ["confidence"]), store)
    with Making(planned, Watched(inline, lost=(1, 5)), None) as making:
        making.wait_for(planned.populations)
    assert len(inline.ran) == 8


def test_what_the_plan_does_not_hold_is_not_waited_for(task, store, inline):
    planned = plan(grid(task, ["ce"], ["confidence"]), store)
    other = plan(grid(task, ["relaxloss"], ["confidence"]), store)
    with Making(planned, inline, None) as making:
        making.wait_for(other.populations)
        assert inline.ran == []
        making.wait_for(planned.populations)
        assert making.why_not(planned.populations) is None


# Lanes


def shaped(store):
    """The bytes of all weights, notes and answers in a store, by what they are."""
    found = {}
    for artifact in store.artifacts():
        if artifact.kind in (MODEL, ANSWERS):
            name = artifact.kind, artifact.manifest["defense"]["spec"], artifact.manifest["index"]
            files = [path for path in sorted(artifact.path.iterdir()) if path.suffix in (".safetensors", ".npy")]
            found[name] = [(path.name, path.read_bytes()) for path in files]
    return found


def test_the_same_bytes_for_any_number_of_lanes(tmp_path):
    digits = resolve("task", "digits", {"epochs": 2, "hidden": (8,), "limit": 120, "copies": 0})
    defenses = ["ce", "relaxloss", resolve("defense", "dp-critic", {"gan_steps": 4, "gan_batch": 16})]
    found, attacked = {}, {}
    for lanes in (1, 2, 4):
        store = Store(tmp_path / str(lanes))
        executor = LocalProcesses(1, lanes=lanes)
        attacked[lanes] = [record.reason for record in run(grid(digits, defenses, ["confidence"]), store, executor)]
        found[lanes] = shaped(store)
    assert attacked[1] == attacked[2] == attacked[4] == [""] * 3
    assert len(found[1]) == 24
    assert found[2] == found[1]
    assert found[4] == found[1]


def test_a_training_that_diverges_beside_others_is_its_own_cell_s(task, store):
    tasks = [task, dataclasses.replace(task, lr=1e30), dataclasses.replace(task, epochs=2)]
    made = Grid(tasks, [resolve("defense", "ce")], [resolve("attack", "confidence")], models=4)
    records = list(run(made, store, LocalProcesses(1, lanes=6)))
    assert [record.status for record in records] == ["ok", "failed", "ok"]
    assert "Training diverged" in records[1].reason


def test_only_privbench_s_own_code_runs_in_lanes(task, store, inline):
    submitted = []

    class Noted(Watched):
        @contextlib.contextmanager
        def pool(self, on_progress=None):
            with super().pool(on_progress) as pool:
                submit = pool.submit
                pool.submit = lambda call: submitted.append(call) or submit(call)
                yield pool

    list(run(grid(task, ["ce", Failing()], ["confidence"]), store, Noted(inline)))
    lanes = {call.job.population.defense.name: call.lane for call in submitted if isinstance(call.job, Job)}
    assert lanes == {"ce": "built-in", "failing": None}
