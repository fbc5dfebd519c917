import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from privbench.cli.audit_dataset import dataset
from privbench.errors import DataError
from privbench.records import record


@pytest.fixture
def here(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (200, 6, 6, 1), dtype=np.uint8)
    synthetic = np.clip(x[:60].astype(int) + rng.integers(-30, 30, x[:60].shape), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "real.npz", x=x[:60], y=np.arange(60) % 3)
    np.savez(tmp_path / "made.npz", x=synthetic)
    np.savez(tmp_path / "held.npz", x=x[60:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _invoke(*words):
    return CliRunner().invoke(dataset, list(map(str, words)))


def test_records_tables_findings_and_pictures(here):
    result = _invoke("real.npz", "made.npz", "--holdout", "held.npz", "--top", 2)
    assert result.exit_code == 0, result.output
    found = record.load([here / "privbench-results"])
    assert {each.attack.name for each in found} >= {"gan-leaks", "nearest-neighbour", "real-vs-fake"}
    assert found[0].command == "privbench audit dataset real.npz made.npz --holdout held.npz --seed 0"
    assert found[0].data.name == "made"
    assert "60 members, 60 non-members, seed 0" in result.stdout
    assert "nearest-neighbour found memorisation_rate" in result.stdout
    assert "need predictions of a model (privbench audit predictions)" in result.stdout
    shown = result.stdout.partition("The 2 most exposed members, by the scores of ")[2].splitlines()
    assert shown[1].split()[:4] == ["real", "label", "nearest", "distance"]
    assert list(here.rglob("*.pairs.png"))
    assert "Warning" not in result.stderr


def test_the_command_of_a_record_runs_it_again(here):
    words = ("real.npz", "made.npz", "--holdout", "held.npz", "-a", "gan-leaks:features=pca", "--seed", 3)
    assert _invoke(*words, "--out", "one").exit_code == 0
    (one,) = record.load([here / "one"])
    assert _invoke(*one.command.split()[3:], "--out", "two").exit_code == 0
    (two,) = record.load([here / "two"])
    assert one.digest == two.digest


def test_the_same_examples_held_out_are_warned_of(here):
    result = _invoke("real.npz", "made.npz", "--holdout", "real.npz", "-a", "gan-leaks", "--top", 0)
    assert "Warning: 60 of 60 held-out examples are among the real ones" in result.stderr


def test_tables_with_labels(here):
    rng = np.random.default_rng(0)

    def write(name, n, order):
        x = pd.DataFrame(rng.normal(size=(n, 3)), columns=["age, years", "dose", "mass"])
        x.assign(sick=rng.choice(["no", "yes"], n))[order].to_csv(name, index=False)

    columns = ["age, years", "dose", "mass", "sick"]
    write("real, v1.csv", 60, columns)
    write("made.csv", 60, columns[::-1])
    write("held.csv", 90, columns)
    words = ("real, v1.csv", "made.csv", "--holdout", "held.csv", "--label", "sick", "-a", "gan-leaks", "--top", 2)
    result = _invoke(*words, "--out", "one")
    assert result.exit_code == 0, result.output
    assert "60 members, 45 non-members" in result.stdout
    (one,) = record.load([here / "one"])
    assert _invoke(*shlex.split(one.command)[3:], "--out", "two").exit_code == 0
    (two,) = record.load([here / "two"])
    assert one.digest == two.digest
    wrong = _invoke(*words[:5], "sik")
    assert "real (real, v1.csv) has no column 'sik'. Did you mean 'sick'?" in str(wrong.exception)


def test_names_of_bytes_that_are_no_text(here):
    (here / "made.npz").rename(here / "m\udce9, de.npz")
    result = _invoke("real.npz", "m\udce9, de.npz", "--holdout", "held.npz", "-a", "gan-leaks", "--out", "one")
    assert result.exit_code == 0, result.output
    (one,) = record.load([here / "one"])
    assert one.data.name == "m\\xe9, de"
    assert "$'m\\xe9, de.npz'" in one.command


def test_the_list_of_the_exposed_fits_eighty_columns(here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = _invoke("real.npz", "made.npz", "--holdout", "held.npz", "-a", "gan-leaks", "--top", 3)
    shown = result.stdout.partition("The 3 most exposed")[2].splitlines()[:7]
    assert max(map(len, shown)) <= 80
    assert not any("…" in line for line in shown)


def test_mistakes(here):
    result = _invoke("real.npz", "made.npz")
    assert result.exit_code == 2
    assert "--holdout" in result.stderr
    result = _invoke("real.npz", "nowhere.npz", "--holdout", "held.npz")
    assert isinstance(result.exception, DataError)


def test_help_comes_without_torch():
    code = "import sys, privbench.cli.audit_dataset as m; m.dataset(['--help'], standalone_mode=False);"
    code += "assert not {'torch', 'pandas', 'sklearn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--holdout" in done.stdout
