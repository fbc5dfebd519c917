from __future__ import annotations

import io
import types

import pytest

from privbench.cli import progress as module
from privbench.cli import safe_console
from privbench.cli.progress import Progress, duration_text
from privbench.errors import CellFailed, Diverged
from privbench.executors import Outcome
from privbench.grid.estimate import describe
from privbench.plugins.loading import resolve


class Releases:
    """What is told of a population."""

    def __init__(self, task, models):
        self.task, self.defense, self.models = task, resolve("defense", "ce"), models


def cell(population, attack, impossible=""):
    attack = resolve("attack", attack)
    return types.SimpleNamespace(population=population, attack=attack, inapplicable="", impossible=impossible)


class Planned:
    """A plan of one population, of which so many models are left to make."""

    waves = ()

    def __init__(self, task, left, models=4, trained=0):
        self._trained = trained
        self.population = Releases(task, models)
        self.models = models
        self.cells = [cell(self.population, name) for name in ("lira", "confidence")]
        self.unusable = {}
        self.grid = types.SimpleNamespace(attacks=[each.attack for each in self.cells])
        self._left = left

    def jobs(self):
        left = range(self._left)
        return [
            types.SimpleNamespace(population=self.population, index=i, trained=i < self._trained, damaged=())
            for i in left
        ]


def scored(status="ok", reason=""):
    names = {kind: types.SimpleNamespace(spec=kind) for kind in ("task", "defense", "attack")}
    return types.SimpleNamespace(**names, status=status, reason=reason)


def outcomes(plan, *errors):
    return [Outcome(i, job, None, error, 0.1) for i, (job, error) in enumerate(zip(plan.jobs(), errors, strict=True))]


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(value=0.0)
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now.value))
    return now


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns; what was written to it."""
    monkeypatch.setenv("TERM", "xterm")

    written = io.StringIO()

    class Forced(safe_console.SafeConsole):
        def __init__(self, **options):
            super().__init__(**{**options, "file": written, "width": 100, "force_terminal": True, "color_system": None})

    monkeypatch.setattr(safe_console, "SafeConsole", Forced)
    return written


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119.4, "119 s"),
        (120, "2.0 min"),
        (7199, "120.0 min"),
        (7200, "2.0 h"),
    ],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_a_log_gets_a_line_now_and_then(task, clock, capfd):
    plan = Planned(task, left=4)
    with Progress() as progress:
        progress.planned(plan)
        for outcome in outcomes(plan, None, None, None, None):
            clock.value += 20.0
            progress.progress(outcome.index, 0.5, "stage")
            progress.made(outcome)
        progress.scored(plan.cells[0], scored())
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Training 4 of 4 models; 0 are in the store.",
        "2 of 4 models, 40 s left",
        "4 of 4 models, 0.0 s left",
        "Finished 4 models in 80 s.",
    ]


def test_where_all_is_cached_it_says_so(task, capfd):
    plan = Planned(task, left=0)
    with Progress() as progress:
        progress.planned(plan)
        progress.scored(plan.cells[0], scored())
    assert capfd.readouterr().err == "All 4 models are in the store.\n"


def test_models_that_are_only_queried_are_not_said_to_be_made(task, capfd):
    with Progress() as progress:
        progress.planned(Planned(task, left=3, trained=2))
    assert capfd.readouterr().err == "Training 1 of 4 models, querying 2 more; 3 are in the store.\n"


@pytest.mark.parametrize(("attacks", "what"), [(["lira", "confidence"], " / lira, confidence"), ([], "")])
def test_a_task_that_cannot_be_loaded_is_said_before_anything_is_trained(task, capfd, attacks, what):
    plan = Planned(task, left=2, models=2)
    plan.unusable = {resolve("task", "digits:limit=300"): CellFailed("no luck")}
    plan.grid.attacks = [resolve("attack", each) for each in attacks]  # none where an audit is planned
    with Progress() as progress:
        progress.planned(plan)
    assert f"Failed: digits:limit=300{what}: no luck\n" in capfd.readouterr().err


def test_what_fails_is_said_at_once(task, capfd):
    plan = Planned(task, left=2, models=2)
    with Progress() as progress:
        progress.planned(plan)
        for outcome in outcomes(plan, Diverged("the loss of epoch 1 is nan"), None):
            progress.made(outcome)
        progress.scoring(plan.cells[0], 0.0)
        progress.scored(plan.cells[0], scored("failed", "scores are NaN"))
    text = capfd.readouterr().err
    assert "/ ce, model 0: the loss of epoch 1 is nan" in text
    assert " / ce / attack: scores are NaN" in text


def test_a_reason_is_told_once_not_for_every_model_and_cell(task, capfd):
    plan = Planned(task, left=4)
    plan.cells.append(cell(plan.population, "entropy", impossible="it needs shadow models."))
    with Progress() as progress:
        progress.planned(plan)
        for outcome in outcomes(plan, *4 * [Diverged("the loss is nan")]):
            progress.made(outcome)
        for each in plan.cells:
            progress.scoring(each, 0.0)
            progress.scored(each, scored("failed", each.impossible or "ce model 0: the loss is nan"))
    where, lines = describe(plan.population), capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("Failed")] == [
        f"Failed: {where} / entropy: it needs shadow models.",
        f"Failed: {where}, model 0: the loss is nan",
    ]
    assert lines[-1].startswith("Finished 0 of 4 models in")
    assert lines[-1].endswith("; 4 failed.")


def test_scoring_has_an_eta_from_cells_and_parts_of_them(task, clock, capfd):
    plan = Planned(task, left=0)
    plan.cells.append(cell(plan.population, "entropy", impossible="it needs shadow models."))
    with Progress() as progress:
        clock.value = 100.0
        progress.planned(plan)
        progress.scoring(plan.cells[0], 0.0)
        assert progress.scoring_eta() == ""
        clock.value += 20.0
        progress.scoring(plan.cells[0], 0.5)
        assert progress.scoring_eta() == "60 s left"  # a quarter of two cells in 20 s; the third takes no time
        clock.value += 20.0
        progress.scored(plan.cells[0], scored())
    assert "1 of 3 cells, 40 s left" in capfd.readouterr().err


def test_scoring_between_models_counts_its_own_time_alone(task, clock, terminal):
    plan = Planned(task, left=2)
    plan.cells += plan.cells
    with Progress() as progress:
        progress.planned(plan)
        progress.refresh()
        assert "Scoring" not in terminal.getvalue()
        for outcome, each in zip(outcomes(plan, None, None), plan.cells[:2], strict=True):
            clock.value += 100.0
            progress.made(outcome)
            progress.scoring(each, 0.0)
            clock.value += 10.0
            progress.scored(each, scored())
        assert progress.scoring_eta() == "20 s left"
        progress.refresh()
    assert "2/4" in terminal.getvalue().rpartition("Scoring")[2]


def test_a_terminal_that_cannot_draw_gets_a_log(task, terminal, monkeypatch, capfd):
    monkeypatch.setenv("TERM", "dumb")
    plan = Planned(task, left=0)
    with Progress() as progress:
        progress.planned(plan)
        progress.scored(plan.cells[0], scored())
    assert capfd.readouterr().err == "All 4 models are in the store.\n"
    assert terminal.getvalue() == ""


def test_a_stderr_that_is_closed_is_no_trouble(task, monkeypatch, capfd):
    monkeypatch.setattr("sys.stderr", None)
    plan = Planned(task, left=2, models=2)
    with Progress() as progress:
        progress.planned(plan)
        for outcome in outcomes(plan, None, Diverged("the loss is nan")):
            progress.made(outcome)
    assert capfd.readouterr() == ("", "")


def test_the_eta_counts_parts_of_models_and_waits_until_it_knows_something(task, clock):
    with Progress() as progress:
        progress.planned(Planned(task, left=4))
        clock.value = 10.0
        progress.progress(0, 0.4, "")
        assert progress.eta() == ""
        progress.progress(1, 0.6, "")
        assert progress.eta() == "30 s left"  # 1 of 4 models in 10 s


def test_a_terminal_has_a_bar_and_no_log(task, clock, terminal, capfd):
    plan = Planned(task, left=2, models=4)
    with Progress() as progress:
        progress.planned(plan)
        clock.value = 6.0
        progress.progress(0, 1.0, "epochs")
        progress.made(outcomes(plan, None, None)[0])
        progress.refresh()
        half = terminal.getvalue()
        progress.made(outcomes(plan, None, Diverged("loss is nan"))[1])
        progress.scoring(plan.cells[0], 0.0)
        progress.scored(plan.cells[0], scored())
        progress.scoring(plan.cells[1], 0.0)
        progress.refresh()
    assert "Models" in half
    assert "1/2" in half
    assert "6.0 s left" in half
    assert "epochs" in half
    assert "Scoring" not in half
    whole = terminal.getvalue()
    assert "model 1: loss is nan" in whole
    assert "Scoring" in whole
    assert "1/2" in whole.rpartition("Scoring")[2]
    assert "ce / confidence" in whole.rpartition("Scoring")[2]  # the cell in work, not the one that is done
    assert capfd.readouterr() == ("", "")


def test_a_terminal_with_all_cached_shows_scoring_only(task, terminal):
    plan = Planned(task, left=0)
    with Progress() as progress:
        progress.planned(plan)
        progress.scored(plan.cells[0], scored())
        progress.refresh()
    assert "Scoring" in terminal.getvalue()
    assert "Models" not in terminal.getvalue().rpartition("Scoring")[2]
