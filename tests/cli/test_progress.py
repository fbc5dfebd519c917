from __future__ import annotations

import io
import types

import pytest

from privbench.cli import progress as module
from privbench.cli.progress import Progress, duration_text
from privbench.errors import Diverged
from privbench.executors import Outcome
from privbench.plugins import resolve


class Releases:
    """What is told of a population."""

    def __init__(self, task, models):
        self.task, self.defense, self.models = task, resolve("defense", "ce"), models


class Planned:
    """A plan of one population, of which so many models are left to make."""

    def __init__(self, task, left, models=4, trained=0):
        self._trained = trained
        self.population = Releases(task, models)
        self.models = models
        self.cells = [1, 2]
        self._left = left

    def jobs(self):
        left = range(self._left)
        return [types.SimpleNamespace(population=self.population, index=i, trained=i < self._trained) for i in left]


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
    import rich.console

    written = io.StringIO()

    class Forced(rich.console.Console):
        def __init__(self, **options):
            super().__init__(**{**options, "file": written, "width": 100, "force_terminal": True, "color_system": None})

    monkeypatch.setattr(rich.console, "Console", Forced)
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
        progress.scored(scored())
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Making 4 of 4 models; 0 are in the store.",
        "2 of 4 models, 40 s left",
        "4 of 4 models, 0.0 s left",
        "Done with 4 models in 80 s.",
    ]


def test_where_all_is_cached_it_says_so(task, capfd):
    with Progress() as progress:
        progress.planned(Planned(task, left=0))
        progress.scored(scored())
    assert capfd.readouterr().err == "All 4 models are in the store.\n"


def test_models_that_are_only_queried_are_not_said_to_be_made(task, capfd):
    with Progress() as progress:
        progress.planned(Planned(task, left=3, trained=2))
    assert capfd.readouterr().err == "Making 1 of 4 models, querying 2 more; 3 are in the store.\n"


def test_what_fails_is_said_at_once(task, capfd):
    plan = Planned(task, left=2, models=2)
    with Progress() as progress:
        progress.planned(plan)
        for outcome in outcomes(plan, Diverged("the loss of epoch 1 is nan"), None):
            progress.made(outcome)
        progress.scored(scored("failed", "scores are NaN"))
    text = capfd.readouterr().err
    assert "/ ce, model 0: the loss of epoch 1 is nan" in text
    assert "Failed: task / defense / attack: scores are NaN" in text


def test_the_eta_counts_parts_of_models_and_waits_until_it_knows_something(task, clock):
    with Progress() as progress:
        progress.planned(Planned(task, left=4))
        clock.value = 10.0
        progress.progress(0, 0.4, "")
        assert progress._eta() == ""
        progress.progress(1, 0.6, "")
        assert progress._eta() == "30 s left"  # 1 of 4 models in 10 s


def test_a_terminal_has_a_bar_and_no_log(task, clock, terminal, capfd):
    plan = Planned(task, left=2, models=4)
    with Progress() as progress:
        progress.planned(plan)
        clock.value = 6.0
        progress.progress(0, 1.0, "epochs")
        progress.made(outcomes(plan, None, None)[0])
        progress._bars.refresh()
        half = terminal.getvalue()
        progress.made(outcomes(plan, None, Diverged("loss is nan"))[1])
        progress.scored(scored())
        progress._bars.refresh()
    assert "Models" in half
    assert "1/2" in half
    assert "6.0 s left" in half
    assert "epochs" in half
    assert "Scoring" not in half
    whole = terminal.getvalue()
    assert "model 1: loss is nan" in whole
    assert "Scoring" in whole
    assert "1/2" in whole.rpartition("Scoring")[2]
    assert "defense / attack" in whole
    assert capfd.readouterr() == ("", "")


def test_a_terminal_with_all_cached_shows_scoring_only(task, terminal):
    with Progress() as progress:
        progress.planned(Planned(task, left=0))
        progress.scored(scored())
        progress._bars.refresh()
    assert "Scoring" in terminal.getvalue()
    assert "Models" not in terminal.getvalue().rpartition("Scoring")[2]
