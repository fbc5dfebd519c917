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
QUICK = {
    "adversarial-regularisation": "warmup=0",
    "art-mi-face": "steps=5",
    "dp-augm": "steps=5",
    "dp-critic": "gan_steps=3",
    "dp-sgd": "epochs=2",
    "dp-vaegm": "steps=2",
    "fake-data": "gan_steps=3",
    "inversion": "alpha=20,restarts=2",
    "loss-trajectory": "passes=2",
    "memguard": "attack_steps=20,max_steps=5",
    "quantile": "components=2",
    "selena": "models=3,held_out=1",
    "transform": "gan_steps=3,cycle_steps=3,valuation_models=2,cycle_width=2",
}
"""Options with which a component has little to do; the others have by default."""


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


def every(kind):
    """Return the words for all components of a kind."""
    names = [component.name for component in resolve_all(kind, ["all"])]
    return [word for name in names for word in (f"--{kind}", f"{name}:{QUICK[name]}" if name in QUICK else name)]


@pytest.mark.parametrize(
    ("kind", "words"), [("defense", "--attack correctness --models 2 --jobs 2"), ("attack", "--models 4 --jobs 1")]
)
def test_all_of_a_kind_run_in_one_grid(kind, words, tmp_path):
    """Each gets its cell: none fails, and n/a is said where an attack has nothing to look at."""
    defenses = [] if kind == "defense" else ["--defense", "ce"]
    words = ["run", "--task", TASK, *every(kind), *defenses, *words.split()]
    result = CliRunner().invoke(main, [*words, "--store", tmp_path / "store", "--out", tmp_path / "out"])
    assert result.exit_code == 0, result.output
    assert "failed" not in result.stdout
    assert len(list((tmp_path / "out").rglob("*.json"))) == len(resolve_all(kind, ["all"]))
