from __future__ import annotations

import sys
import types
from typing import ClassVar

import pytest
from click.testing import CliRunner

from privbench.api import component, option
from privbench.cli import main
from privbench.plugins import loading as plugins
from privbench.plugins.loading import Catalogue, Problem, Registered


@component
class Guess:
    """Guess."""

    name: ClassVar[str] = "guess"
    alpha: float = option(1.0, "how bold", ge=0)


class Check:
    def __init__(self, name, error=None):
        self.name, self.description, self.error = name, f"{name} holds", error

    def run(self):
        if self.error:
            raise self.error


@pytest.fixture
def checks(monkeypatch):
    """Let the checks of every component be these; returns what was checked."""
    catalogue = Catalogue(plugins={"privbench": "1.0"})
    catalogue.add(Registered("attack", "guess", Guess, "privbench", "1.0"))
    catalogue.add(Registered("audit", "twin", Guess, "privbench", "1.0"))
    catalogue.add(Registered("task", "twin", Guess, "privbench", "1.0"))
    catalogue.problems.append(Problem("bad", "broken"))
    monkeypatch.setattr(plugins, "catalogue", lambda: catalogue)
    monkeypatch.setattr("privbench.grid.calls.serves", lambda *_: "")
    seen, salts, devices, module = [], [], [], types.ModuleType("privbench.testing")

    def install(*errors):
        made = [Check(f"check-{i}", error) for i, error in enumerate(errors)]
        module.checks_for = lambda component, salt, device: (
            salts.append(salt) or devices.append(device) or seen.append(component) or made
        )
        module.salts, module.devices = salts, devices
        monkeypatch.setitem(sys.modules, "privbench.testing", module)
        return seen

    return install


def run(*names):
    return CliRunner().invoke(main, ["check", *names])


def test_one_line_per_check(checks):
    seen = checks(None, None)
    result = run("guess")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:3] == [
        "attack guess",
        "  pass  check-0  check-0 holds",
        "  pass  check-1  check-1 holds",
    ]
    assert "2 checks, none failed" in result.stdout
    assert result.stderr == "Warning: plugin 'bad': broken\n"
    assert seen == [Guess()]


def test_a_failure_says_why_in_one_line_and_the_others_go_on(checks):
    checks(AssertionError("it\npeeks"), ZeroDivisionError("bug"), AssertionError(), None)
    result = run("guess")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:5] == [
        "  FAIL  check-0  it peeks",
        f"  FAIL  check-1  ZeroDivisionError: bug (tests/cli/test_check.py:{Check.run.__code__.co_firstlineno + 2})",
        "  FAIL  check-2  failed without a message",
        "  pass  check-3  check-3 holds",
    ]
    assert "4 checks, 3 failed" in result.stdout


@pytest.mark.parametrize("name", ["guess:alpha=2", "attack:guess:alpha=2", "attacks:guess:alpha=2"])
def test_options_and_kinds_in_the_name(checks, name):
    seen = checks(None)
    assert run(name).exit_code == 0
    assert seen == [Guess(alpha=2)]


def test_several_names(checks):
    seen = checks(None)
    assert run("guess", "task:twin").exit_code == 0
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gess", "Did you mean 'guess'?"),
        ("attack:gess", "Did you mean 'guess'?"),
        ("guess:alfa=1", "Did you mean 'alpha'?"),
        ("guess:alpha=-1", "greater than or equal to 0"),
        ("twin", "task:twin or audit:twin"),
    ],
)
def test_mistakes_are_one_line_and_check_nothing(checks, name, words):
    seen = checks(None)
    result = run("guess", name)
    assert result.exit_code == 2
    assert words in result.stderr.splitlines()[-1]
    assert result.stderr.count("\n") == 2
    assert seen == []


def test_all_that_is_checked_shares_a_salt_which_is_fresh_unless_given(checks):
    checks(None)
    salts, given = sys.modules["privbench.testing"].salts, "0123456789abcdef0123456789abcdef"
    for words in ([], [], ["--salt", given], ["--salt", "public"]):
        assert run("guess", "task:twin", *words).exit_code == 0
    drawn = salts[::2]
    assert salts[1::2] == drawn
    assert len(set(drawn[:2])) == 2
    assert all(len(salt) == 32 for salt in drawn[:2])
    assert drawn[2:] == [given, ""]


def test_a_device_is_chosen_as_elsewhere(checks, monkeypatch):
    seen = checks(None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert run("guess", "--device", "cuda").exit_code == 0
    assert run("guess").exit_code == 0
    assert sys.modules["privbench.testing"].devices == ["cuda", "cpu"]
    seen.clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name, words in (("cuda", "Device 'cuda' is not available to torch"), ("cuda:1", "CUDA_VISIBLE_DEVICES=1")):
        result = run("guess", "--device", name)
        assert result.exit_code == 2
        assert words in result.stderr.splitlines()[-1]
    assert seen == []


def test_a_salt_that_is_none_is_one_line(checks):
    seen = checks(None)
    result = run("guess", "--salt", "rndom")
    assert result.exit_code == 2
    assert result.stderr == "Error: --salt rndom: give 32 hexadecimal digits, 'random' to draw some, or 'public'.\n"
    assert seen == []
