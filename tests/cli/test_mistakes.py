from __future__ import annotations

import pytest
from click.testing import CliRunner

from privbench.cli import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bogus"], "No such option '--bogus'. Help: privbench --help"),
        (["show"], "No command 'show'. Did you mean 'privbench leaderboard show'? Commands: "),
        (["attack", "lira"], "No command 'attack'. Did you mean 'privbench run --attack'? Commands: "),
        (["run", "--models", "two"], "Invalid value for '--models': 'two' is not a valid integer. Help: "),
        (["run", "--seed", "x"], "Invalid value for '--seed': 'x' is not a valid integer. Help: privbench run --help"),
        (
            ["run", "--defense", "ce", "relaxloss", "lira"],
            "Got unexpected extra arguments (relaxloss lira). Write --defense relaxloss --attack lira: an option takes",
        ),
        (["run", "nonsense"], "Got unexpected extra argument (nonsense). Help: privbench run --help"),
        (
            ["run", "--epochs", "5"],
            "No such option '--epochs'. Write it as an option of the task: --task digits:epochs=VALUE. Help: ",
        ),
        (
            ["audit", "epsilon", "--attack", "lira"],
            "No such option '--attack'. Write it as an option of the audit: privbench audit epsilon:attack=VALUE. ",
        ),
        (["leaderboard", "."], "No such command '.'. Did you mean 'privbench leaderboard show .'? Help: "),
        (["cache", "prune", "--defense", "relaxlos"], "No defense 'relaxlos' in the store. Did you mean 'relaxloss'? "),
        (["cache", "prune", "--task", "Digits"], "No task 'Digits' in the store. Did you mean 'digits'? "),
        (["cache", "prune", "--kind", "models"], "No kind 'models' in the store. Did you mean 'model'? "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_what_would_be_right(tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path))
    result = CliRunner().invoke(main, words, prog_name="privbench")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["leaderboard"], ["cache"], ["data"]])
def test_a_group_without_a_command_shows_its_help(words):
    result = CliRunner().invoke(main, words, prog_name="privbench")
    assert result.exit_code == 2
    assert result.output.startswith("Usage: privbench")


def test_what_is_registered_but_not_stored_is_no_mistake(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path))
    words = ["cache", "prune", "--defense", "transform", "--task", "digits:limit=100", "--kind", "answers"]
    result = CliRunner().invoke(main, words, prog_name="privbench")
    assert result.exit_code == 0
    assert "Nothing to remove" in result.stdout
