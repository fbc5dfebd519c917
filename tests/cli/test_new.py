"""`privbench new`: what it writes is built, installed, checked and run as it stands, for all four kinds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from privbench.api import component
from privbench.cli import main
from privbench.cli import new as command
from privbench.cli.console import KINDS
from privbench.plugins import loading as plugins

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINES = 40
NAMES = {kind: f"made-{kind}" if kind != "attack" else "made" for kind in KINDS}
SMALL = "--task made-task:size=200 --models 4 --jobs 1 --store store --out out"
COMMANDS = [
    "list",
    *(f"list {kind} {name}" for kind, name in NAMES.items()),
    f"check {' '.join(NAMES.values())}",
    f"run --defense ce --defense made-defense --attack made --attack confidence {SMALL}",
    f"audit made-audit --defense made-defense {SMALL}",
]
DRIVER = """
import sys
import pytest
from privbench.cli import main
suites = sys.argv.index("--")
for line in sys.argv[1:suites]:
    print("$", line, flush=True)
    try:
        main(line.split(), prog_name="privbench")
    except SystemExit as done:
        assert not done.code, f"{line}: exit code {done.code}"
    if line.startswith("list"):
        assert "torch" not in sys.modules, f"{line} imports torch"
print("$ pytest", flush=True)
sys.exit(pytest.main(sys.argv[suites + 1 :]))
"""
"""One process for all, as importing torch takes longer than most of it."""


def new(*arguments):
    return CliRunner().invoke(main, ["new", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The four distributions, as they were written."""
    folder = tmp_path_factory.mktemp("made")
    for kind, name in NAMES.items():
        result = new(kind, name, "--into", folder)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def site(made, tmp_path_factory):
    """A folder into which their wheels are built and installed, without a network."""
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("site")
    wheels = [
        wheel
        for name in NAMES.values()
        for wheel in WheelBuilder(str(made / f"privbench-{name}")).build(directory=str(folder), versions=["standard"])
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", str(folder / "site"), *wheels], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site, *arguments, cwd):
    """Run command lines, and after "--" pytest, in a process for which the distributions are the plugins there are."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    more = {"PYTHONPATH": path, "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    more |= {"PRIVBENCH_PLUGINS": ",".join(NAMES.values())}
    words = [sys.executable, "-c", DRIVER, *map(str, arguments)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=cwd, env=os.environ | more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def test_unedited_they_are_listed_pass_their_checks_and_tests_and_get_their_rows(made, site, tmp_path):
    folders = [made / f"privbench-{name}" for name in NAMES.values()]
    config = ["-q", "-p", "no:cacheprovider", "-c", folders[0] / "pyproject.toml", "--rootdir", made]
    said = run(site, *COMMANDS, "--", *config, *(folder / "tests" for folder in folders), cwd=tmp_path)
    listed, *shown, checked, ran, audited, tested = said.split("$ ")[1:]
    for kind, name in NAMES.items():
        (row,) = (line for line in listed.splitlines() if line.split()[:1] == [name])
        assert "0.1.0" in row
        (details,) = (each for each in shown if each.startswith(f"list {kind}"))
        assert f"from plugin {name} 0.1.0" in details
        assert f"{kind} {name}" in checked
    assert checked.count("none failed") == len(NAMES)
    board = [line.split() for line in ran.splitlines()]
    assert {words[1] for words in board if words and words[0] in {"1", "2"}} == {"ce", "made-defense"}
    assert "made sees: logits, adaptive shadows" in " ".join(ran.split())
    assert "gap" in audited
    assert len(list((tmp_path / "out").rglob("audit-made-audit-*.json"))) == 1
    assert re.search(r"^[0-9]+ passed", tested, re.MULTILINE), tested


def test_each_is_short(made):
    for name in NAMES.values():
        (module,) = (made / f"privbench-{name}").glob("*.py")
        assert len([line for line in module.read_text().splitlines() if line.strip()]) < LINES


@pytest.mark.skipif(not shutil.which("ruff"), reason="ruff is not installed")
def test_their_own_style_is_kept(made, tmp_path):
    for kind in KINDS:
        assert new(kind, f"rather-long-name-of-an-{kind}", "--into", tmp_path).exit_code == 0
    for folder in (*made.glob("privbench-*"), *tmp_path.iterdir()):
        for line in ("check --no-cache", "format --no-cache --check"):
            done = subprocess.run(["ruff", *line.split()], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def written(folder):
    """Return the files of a distribution, without what other tests left there by running it."""
    return [path for path in folder.rglob("*") if path.is_file() and "cache" not in path.parent.name]


def test_what_is_written(made):
    folder = made / "privbench-made-audit"
    assert sorted(str(path.relative_to(folder)) for path in written(folder)) == [
        ".github/workflows/ci.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "privbench_made_audit.py",
        "pyproject.toml",
        "tests/test_made_audit.py",
        "tox.ini",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"privbench": {"made-audit": "privbench_made_audit"}}
    ci = (folder / ".github/workflows/ci.yml").read_text()
    assert "python-version: ${{ matrix.python }}" in ci
    assert not list(made.glob(".*")), "something temporary is left"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_to_fill_in(made, kind):
    for path in written(made / f"privbench-{NAMES[kind]}"):
        text = path.read_text(encoding="utf-8").replace("${{ matrix", "")
        assert "$" not in text
        assert max(map(len, text.splitlines())) <= 120
        assert text.endswith("\n")


def test_the_next_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = new("attack", "guess-well")
    assert result.stdout.splitlines() == [
        "  pip install -e ./privbench-guess-well",
        "  privbench check attack:guess-well",
        "  privbench run --attack guess-well --attack lira",
    ]
    assert result.stderr == "Wrote privbench-guess-well; the attack is in privbench_guess_well.py. Next:\n"
    assert "class GuessWellAttack:" in (tmp_path / "privbench-guess-well" / "privbench_guess_well.py").read_text()
    assert f"pip install -e '{tmp_path}/a b/privbench-c'" in new("task", "c", "--into", tmp_path / "a b").stdout
    assert "pip install -e ../privbench-c" in new("task", "c", "--into", "..").stdout


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("atack", "x", "No kind 'atack'. Did you mean 'attack'? Kinds: task, defense, attack, audit."),
        ("attack", "MyAttack", "Try 'my-attack'."),
        ("attack", "my_attack", "Try 'my-attack'."),
        ("attack", "my--attack-", "Try 'my-attack'."),
        ("attack", "2fast", "Try 'fast'."),
        ("attack", "ü", "'ü' is not a valid name: use lower-case letters, digits, single dashes, a letter first."),
        ("attack", "../x", "Try 'x'."),
        ("attack", "", "'' is not a valid name"),
        ("attack", "privbench-x", "omit the prefix: 'x'."),
        ("defense", "lira", "There is an attack named 'lira' already, from plugin 'privbench'"),
        ("attack", "ce", "There is a defense named 'ce' already, from plugin 'privbench'"),
        ("attack", "class", "'class' is a keyword of Python; choose another name, such as 'my-class'."),
        ("attack", "none", "keyword of Python"),
        ("attack", "json", "'json' is a module of Python's standard library"),
        ("attack", "all", "has another meaning on the command line"),
        ("audit", "tasks", "has another meaning on the command line"),
        ("attack", "audit-loss", "the files of audits begin with 'audit-': choose another, such as 'my-audit-loss'."),
        ("task", "cuda0", "that is the name of a device: choose another, such as 'my-cuda0'."),
        ("task", "x" * 65, "at most 64 characters"),
    ],
)
def test_bad_names_are_one_line_and_write_nothing(tmp_path, kind, name, words):
    result = new(kind, name, "--into", tmp_path)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_another_plugin_has(tmp_path, monkeypatch):
    @component
    class Theirs:
        """Theirs."""

        name = "theirs"

    there = plugins.Catalogue(plugins={"privbench": "1", "their-plugin": "1"})
    there.add(plugins.Registered("audit", "theirs", Theirs, "their-plugin", "1"))
    there.problems.append(plugins.Problem("broken", "it cannot be imported"))
    monkeypatch.setattr(plugins, "catalogue", lambda: there)
    for name, words in [
        ("theirs", "There is an audit named 'theirs' already, from plugin 'their-plugin'"),
        ("their-plugin", "There is a plugin named 'their-plugin' already"),
        ("broken", "There is a plugin named 'broken' already"),
    ]:
        result = new("attack", name, "--into", tmp_path)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path):
    folder = tmp_path / "privbench-x"
    folder.mkdir()
    assert new("attack", "x", "--into", tmp_path).exit_code == 0, "an empty folder is as good as none"
    mine = folder / "privbench_x.py"
    mine.write_text("mine")
    result = new("defense", "x", "--into", tmp_path)
    assert result.exit_code == 2
    assert "exists and is not empty" in result.stderr
    assert mine.read_text() == "mine"
    (tmp_path / "privbench-y").write_text("a file")
    assert new("attack", "y", "--into", tmp_path).exit_code == 2
    assert new("attack", "z", "--into", mine).exit_code == 2


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch):
    written, write_text = [], Path.write_text

    def full(self, *arguments, **options):
        written.append(self)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return write_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    result = new("attack", "x", "--into", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: Cannot write {tmp_path / 'privbench-x'}: No space left on device.\n"
    assert len(written) == 4
    assert list(tmp_path.iterdir()) == []


def test_templates_are_in_the_wheel(tmp_path):
    """What `privbench new` reads is shipped: every template, and each is used by some kind."""
    import zipfile

    from hatchling.builders.wheel import WheelBuilder

    root = Path(command.__file__).parents[2]
    if not (root / "pyproject.toml").exists():
        pytest.skip("runs from an installed wheel")
    (wheel,) = WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        shipped = {name.rpartition("/")[2] for name in file.namelist() if name.startswith("privbench/cli/templates/")}
    assert shipped == {f"{template.format(kind=kind)}.tmpl" for template in command.FILES.values() for kind in KINDS}
