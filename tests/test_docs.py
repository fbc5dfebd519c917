"""All code in README.md and docs/ is run as it stands there.

A block after a line like "`name.py`:" is the file of that name. Indented blocks count where they begin with a command.
`privbench run` does what it says, but for its size: fewer models, epochs and examples, in this process. Where its data
must be downloaded first, it gets as far as saying so. A block is left out only after `<!-- test: skip REASON -->`.
"""

from __future__ import annotations

import configparser
import dataclasses
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from privbench.builtin.tasks import BUILTIN
from privbench.cli import COMMANDS, main
from privbench.contracts.recipe import Recipe
from privbench.contracts.version import DECLARED
from privbench.plugins import hookspecs
from privbench.plugins.loading import KINDS, catalogue
from privbench.population.composition import Chain
from privbench.records import leaderboard
from privbench.records.record import Record

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w.-]+)`:\n+|^<!-- test: skip (?P<skip>.+?) -->\n)?^```(?P<lang>\w*)\n(?P<code>.*?)^```$"
    r"|^\n(?P<indented>(?: {4}(?:privbench|pip|\$) [^\n]*\n)(?: {4}[^\n]*\n)*)",
    re.MULTILINE | re.DOTALL,
)
LEFT_OUT = {"pip install tox": "needs the network", "tox": "would run these very tests"}
LANGUAGES = {"python", "bash", "console", "toml", "ini", "json", "text", ""}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp("docs-store")


@pytest.fixture
def desk(tmp_path, monkeypatch, inline, trained):
    """A folder to work in, on sys.path, where small runs are done without processes."""
    from privbench.cli import run, samples
    from privbench.grid import estimate

    def smaller(make):
        def small(options):
            grid = make(options)
            parts = {kind: [_smaller(each) for each in getattr(grid, kind)] for kind in ("tasks", "defenses")}
            attacks = [_smaller(each, alpha=20, restarts=2) for each in grid.attacks]
            return dataclasses.replace(grid, **parts, attacks=attacks, models=min(grid.models, 6))

        return small

    def small_population(options, make=samples.population_of):
        population = make(options)
        task = _smaller(population.task)
        return dataclasses.replace(population, task=task, dataset=task.load(), defense=_smaller(population.defense))

    inline.workers = 1
    monkeypatch.setattr(estimate, "PROBE_STEPS", 1)
    monkeypatch.setattr(run, "grid_of", smaller(run.grid_of))
    monkeypatch.setattr(run, "executor_of", lambda *_: inline)
    monkeypatch.setattr(samples, "population_of", small_population)
    monkeypatch.setenv("PRIVBENCH_STORE", str(trained))
    monkeypatch.setenv("PRIVBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    yield tmp_path
    catalogue.cache_clear()


def _smaller(component, **least):
    """The same task, defense or attack, with as little to do as it allows."""
    if isinstance(component, Chain):
        return dataclasses.replace(component, parts=tuple(map(_smaller, component.parts)))
    small_batch = 8 if getattr(component, "model", None) == "resnet18" else 32  # a step of it takes seconds
    least |= {"epochs": 1, "batch_size": small_batch, "limit": 200 if component.name == "digits" else None}
    least |= {"gan_steps": 3, "cycle_steps": 3, "valuation_models": 2, "models": 3, "held_out": 1}
    options = {field.name for field in dataclasses.fields(component)}
    return dataclasses.replace(component, **{name: value for name, value in least.items() if name in options})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code(page, desk):
    namespace = {"__name__": page.stem}
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        lang, code = block["lang"], block["code"]
        if block["indented"]:
            lang, code = "bash", textwrap.dedent(block["indented"])
        assert lang in LANGUAGES, f"a block of unknown language {lang!r}"
        if block["skip"]:
            continue
        if block["file"]:
            (desk / block["file"]).write_text(code, encoding="utf-8")
        elif lang == "python":
            exec(compile(code, str(page), "exec", dont_inherit=True), namespace)
        if lang in {"bash", "console"}:
            for command in commands(code):
                shell(command, desk)
        elif lang in {"toml", "ini", "json"}:
            {"toml": tomllib.loads, "json": json.loads, "ini": configparser.ConfigParser().read_string}[lang](code)


def commands(code):
    """Yield the commands of a block: those after `$ `, where there are any, else all."""
    prompted = re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)", code, re.MULTILINE)
    text = "\n".join(prompted) if prompted else code
    text = re.sub(r"^\s*#.*$", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    for line in re.split(r"\n(?=\S)(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", text):  # a quoted newline ends no command
        yield from filter(None, (part.strip() for part in re.split(r"&&", line)))


def shell(command, desk):
    words = shlex.split(command, comments=True)
    given = dict(word.partition("=")[::2] for word in words if re.match(r"[A-Z_]+=", word))
    words = words[len(given) :]
    if command in LEFT_OUT:
        return
    if words[:2] == ["pip", "install"] and words[-1].startswith("."):
        install(desk, desk / words[-1])
    elif words[0] == "privbench" and not set(words) & {"|", ">", "<"}:
        catalogue.cache_clear()
        result = CliRunner().invoke(main, words[1:], env=given)
        if "privbench data fetch" not in result.stderr:
            assert result.exit_code == 0, f"{command}\n{result.output}"
        assert "Warning" not in result.stderr, result.stderr
    else:
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def install(desk, folder):
    """Do what `pip install FOLDER` does to a plugin: give it, its entry points above all, a place on sys.path."""
    if not (folder / "pyproject.toml").exists():
        return  # privbench itself, which is installed
    for module in folder.glob("*.py") if folder != desk else ():
        (desk / module.name).symlink_to(module)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = desk / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = (
        f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in e.items()) for group, e in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("".join(lines))
    importlib.invalidate_caches()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_schema_is_current():
    """If not, the command in records.md writes it again."""
    assert json.loads((DOCS / "record.schema.json").read_text()) == Record.model_json_schema(mode="serialization")


@pytest.mark.parametrize("page", ["add-an-attack.md", "add-a-defense.md"])
def test_an_example_is_short(page):
    code = next(
        b["code"] for b in BLOCK.finditer((DOCS / page).read_text()) if (b["file"] or "").startswith("privbench")
    )
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) < 40


def test_every_hook_is_documented_with_its_signature():
    text = (DOCS / "plugins.md").read_text()
    for hook in KINDS.values():
        signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
        assert f"`{hook}{signature}`" in text


def test_every_command_is_documented():
    text = (DOCS / "cli.md").read_text()
    for name in COMMANDS:
        command = main.get_command(None, name)
        for full in [f"{name} {sub}" for sub in getattr(command, "commands", [])] or [name]:
            assert f"`privbench {full}" in text
    for option in main.get_command(None, "run").params:
        assert f"`{option.opts[-1]}`" in text


def test_every_environment_variable_is_documented():
    sources = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "privbench").rglob("*.py"))
    text = (DOCS / "cli.md").read_text()
    names = {*re.findall(r"\bPRIVBENCH_[A-Z]+\b", sources)} - {
        "PRIVBENCH_COMPLETE",
        DECLARED,
    }  # of click, plugins
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_task_recipe_option_and_preset_is_documented():
    text = (DOCS / "tasks.md").read_text()
    names = {task.name for task in BUILTIN} | {preset for task in BUILTIN for preset in task.presets}
    names |= {field.name for field in dataclasses.fields(Recipe)}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_record_field_number_and_ranking_is_documented():
    from privbench.stats.metrics import Metrics

    text = (DOCS / "records.md").read_text()
    names = [*Record.model_fields, *Metrics.model_fields, *leaderboard.RANKINGS]
    assert [name for name in names if f"`{name}" not in text] == []
