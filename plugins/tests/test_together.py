"""All plugins of this folder, installed together: `tox -e newest-all` runs it."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from privbench.cli import main
from privbench.plugins import KINDS
from privbench.plugins.loading import catalogue, resolve_all

NAMES = {path.parent.name.removeprefix("privbench-") for path in Path(__file__).parents[1].glob("*/pyproject.toml")}
TASK = "digits:limit=200,epochs=1"


def test_each_is_loaded_and_none_takes_the_name_of_another():
    assert {point.name for point in entry_points(group="privbench")} == NAMES | {"privbench"}
    assert catalogue().problems == []
    assert {*catalogue().plugins} == NAMES | {"privbench"}


def test_their_requirements_do_not_contradict_each_other():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_listing_them_imports_none_of_what_they_wrap():
    code = "import sys, privbench.plugins as p; p.catalogue(); print({'torch', 'opacus', 'art'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_what_is_listed(kind):
    chosen = {component.name for component in resolve_all(kind, ["all"])}
    assert chosen <= {*catalogue().of(kind)}
    assert len(chosen) >= (kind != "task") * len(NAMES)


@pytest.mark.parametrize(("defense", "attack", "models"), [("all", "correctness", 2), ("ce", "all", 4)])
def test_all_of_a_kind_run_in_one_grid(defense, attack, models, tmp_path):
    """Each gets its cell: none fails, and n/a is said where an attack has nothing to look at."""
    words = f"run --task {TASK} --defense {defense} --attack {attack} --models {models} --jobs 2"
    result = CliRunner().invoke(main, [*words.split(), "--store", tmp_path / "store", "--out", tmp_path / "out"])
    assert result.exit_code == 0, result.output
    assert "failed" not in result.stdout
    kind, chosen = ("defense", defense) if defense == "all" else ("attack", attack)
    records = list((tmp_path / "out").rglob("*.json"))
    assert len(records) == len(resolve_all(kind, [chosen]))
