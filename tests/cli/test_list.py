from __future__ import annotations

import json
from typing import ClassVar, Literal

import pytest
from click.testing import CliRunner

from privbench.api import Needs, component, option
from privbench.cli import main
from privbench.cli.console import complete_components, complete_names
from privbench.contracts.recipe import Recipe
from privbench.plugins import loading as plugins
from privbench.plugins.loading import Catalogue, Problem, Registered


@component
class Guess:
    """Guess who was a member.

    The second paragraph
    goes on.

        code = stays
    """

    name: ClassVar[str] = "guess"
    paper: ClassVar[str] = "Doe: On Guessing, 2020"
    presets: ClassVar[dict] = {"paper": {"alpha": 0.5, "steps": (1, 2)}, "ours": {}}
    alpha: float = option(1.0, "how bold [0 is shy]", ge=0, le=2)
    mode: Literal["on", "off"] = option("on", "whether to guess")
    steps: tuple[int, ...] = option((60, 120), "when")
    cap: float | None = option(None, "limit")
    queries: Literal[1, 2] = option(2, "queries")

    @property
    def needs(self):
        return Needs(queries=self.queries, shadows="adaptive")


@component
class Needy:
    """Need a path."""

    name: ClassVar[str] = "needy"
    path: str = option(..., "where it lies")

    @property
    def needs(self):
        return Needs(query=bool(self.path))


@component
class Toy(Recipe):
    """A toy task."""

    name: ClassVar[str] = "toy"
    limit: int = option(0, "examples at most")


@component
class Bare:
    """Do nothing."""

    name: ClassVar[str] = "twin"


@component
class BareTask:
    """Hold nothing."""

    name: ClassVar[str] = "twin"


@pytest.fixture
def found(monkeypatch):
    catalogue = Catalogue(plugins={"privbench": "1.0", "other": "2.1"})
    for kind, cls, plugin in (
        ("attack", Guess, "privbench"),
        ("attack", Needy, "other"),
        ("task", Toy, "privbench"),
        ("task", BareTask, "privbench"),
        ("defense", Bare, "privbench"),
    ):
        catalogue.add(Registered(kind, cls.name, cls, plugin, catalogue.plugins[plugin]))
    monkeypatch.setattr(plugins, "catalogue", lambda: catalogue)
    return catalogue


def run(*arguments, columns=None):
    result = CliRunner().invoke(main, ["list", *arguments], env={"COLUMNS": columns})
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*arguments):
    result = CliRunner().invoke(main, ["list", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def row(text, name):
    """Return the line that starts with a word, without its alignment."""
    return next(" ".join(line.split()) for line in text.splitlines() if line.split()[:1] == [name])


def test_everything(found):
    shown = run()
    assert [line for line in shown.splitlines() if line in ("Tasks", "Defenses", "Attacks", "Audits")] == [
        "Tasks",
        "Defenses",
        "Attacks",
        "Audits",
    ]
    assert row(shown, "toy") == "toy A toy task"
    assert row(shown, "guess").startswith("guess logits, 2 queries each, adaptive shadows")
    assert "other 2.1" in row(shown, "needy")
    assert "depends on its options" in row(shown, "needy")
    assert "none installed" in shown  # no audit


@pytest.mark.parametrize("kind", ["attack", "attacks"])
def test_one_kind_in_singular_and_plural(found, kind):
    shown = run(kind)
    assert "guess" in shown
    assert "toy" not in shown


def test_details(found):
    shown = run("attack", "guess")
    assert shown.startswith("attack guess   from plugin privbench 1.0\n\nGuess who was a member.\n")
    assert "The second paragraph goes on.\n\n    code = stays\n" in shown
    assert "Sees: logits, 2 queries each, adaptive shadows\n" in shown
    assert "Paper: Doe: On Guessing, 2020\n" in shown
    assert row(shown, "alpha") == "alpha float >= 0, <= 2 1.0 how bold [0 is shy]"
    assert row(shown, "mode") == "mode on | off on whether to guess"
    assert row(shown, "steps") == "steps list 60/120 when"
    assert row(shown, "cap") == "cap float or none none limit"
    assert row(shown, "paper") == "paper alpha=0.5, steps=1/2"
    assert row(shown, "ours") == "ours the defaults"
    assert "privbench run --attack guess:alpha=1.0" in shown


def test_a_name_alone_is_enough_where_it_is_the_only_one(found):
    assert run("guess") == run("attacks", "guess")


def test_a_required_option(found):
    shown = run("needy")
    assert row(shown, "path") == "path text required where it lies"
    assert "needy:path=..." in shown


def test_the_recipe_stands_apart_from_a_tasks_own_options(found):
    own, recipe = run("toy").split("Recipe (the same options for every task)")
    assert row(own, "limit")
    assert row(recipe, "epochs").startswith("epochs int >= 1 30")
    assert "epochs" not in own
    assert "limit int" not in recipe


def test_a_component_without_options(found):
    assert "No options." in run("defense", "twin")


def test_in_a_pipe_a_row_is_one_line_and_plain(found):
    shown = run("guess")
    assert "\x1b" not in shown
    assert "─" not in shown
    assert max(map(len, shown.splitlines())) < 200  # nothing is padded to a width


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal(found, columns):
    for words in ((), ("guess",), ("toy",)):
        assert max(len(line.rstrip()) for line in run(*words, columns=str(columns)).splitlines()) <= columns


def test_json_of_everything(found):
    everything = json.loads(run("--json"))
    assert list(everything) == ["task", "defense", "attack", "audit"]
    assert [each["name"] for each in everything["attack"]] == ["guess", "needy"]


def test_json_of_one(found):
    shown = json.loads(run("guess", "--json"))
    assert (shown["kind"], shown["plugin"], shown["version"]) == ("attack", "privbench", "1.0")
    assert shown["paper"] == "Doe: On Guessing, 2020"
    assert shown["threat_model"] == "logits, 2 queries each, adaptive shadows"
    assert shown["presets"] == {"paper": {"alpha": 0.5, "steps": [1, 2]}, "ours": {}}
    assert shown["options"][0] == {
        "name": "alpha",
        "type": "float",
        "required": False,
        "default": 1.0,
        "range": ">= 0, <= 2",
        "help": "how bold [0 is shy]",
    }
    path = json.loads(run("needy", "--json"))["options"][0]
    assert (path["required"], path["default"]) == (True, None)


def test_mistakes_are_one_line(found):
    assert "Did you mean 'attacks'?" in fails("atacks")
    assert "Did you mean 'guess'?" in fails("gues")
    assert "Did you mean 'guess'?" in fails("attack", "gues")
    assert "No kind 'attak'. Did you mean 'attack'?" in fails("attak", "guess")
    assert "task:twin or defense:twin" in fails("twin")


def test_problems_are_one_line_each_on_stderr(found):
    found.problems.append(Problem("bad", "ImportError: no module"))
    result = CliRunner().invoke(main, ["list", "--json"])
    assert result.stderr == "Warning: plugin 'bad': ImportError: no module\n"
    assert json.loads(result.stdout)


def test_completion(found):
    def values(items):
        return [item.value for item in items]

    assert values(complete_components("attack")(None, None, "")) == ["guess", "needy", "all"]
    assert values(complete_components("attack")(None, None, "ne")) == ["needy"]
    assert complete_components("attack")(None, None, "gu")[0].help == "Guess who was a member"
    assert values(complete_names(None, None, "t")) == ["toy", "twin", "twin"]
