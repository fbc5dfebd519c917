"""A stranger's distribution, installed from its folder, is found, passes the checks, and gets its leaderboard row."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "outside"
LINES = 40
RUN = "run --task digits:limit=200,epochs=2 --defense ce --attack margin-gap --models 4 --jobs 1"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install the distribution, for real and without a network, into a folder of its own."""
    folder = tmp_path_factory.mktemp("outside")
    source = shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    offline = ["--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(source)]
    done = subprocess.run([*pip, *offline], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def privbench(site, tmp_path):
    """Run a command line in a process that sees the distribution."""

    def run(line, *more, **environment):
        where = {"PYTHONPATH": str(site), "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        kept = {name: value for name, value in os.environ.items() if name != "PRIVBENCH_PLUGINS"}
        return subprocess.run(
            [sys.executable, "-m", "privbench", *line.split(), *more],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**kept, **where, **environment},
        )

    return run


def test_it_is_short():
    assert len((SOURCE / "margin_gap.py").read_text().splitlines()) < LINES


def test_it_is_listed_with_its_plugin_and_version(privbench):
    done = privbench("list attack")
    assert done.returncode == 0, done.stderr
    (row,) = (line for line in done.stdout.splitlines() if "margin-gap" in line)
    assert "1.2.3" in row
    detail = privbench("list attack margin-gap")
    assert detail.returncode == 0, detail.stderr
    assert "how much of the shadows' margin is taken off" in " ".join(detail.stdout.split())


def test_it_is_gone_where_the_environment_leaves_it_out(privbench):
    done = privbench("list attack", PRIVBENCH_PLUGINS="")
    assert "lira" in done.stdout
    assert "margin-gap" not in done.stdout


def test_a_typing_error_is_led_to_it(privbench):
    done = privbench("list attack margin-gpa")
    assert done.returncode == 2
    assert "Did you mean 'margin-gap'?" in " ".join(done.stderr.split())


def test_it_passes_the_checks(privbench):
    done = privbench("check margin-gap margin-gap:gap=0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finds-a-leak" in done.stdout


def test_its_own_test_suite_passes(site):
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SOURCE / "contract.py")]
    kept = {name: value for name, value in os.environ.items() if name != "PRIVBENCH_PLUGINS"}
    done = subprocess.run(
        [*own, "--rootdir", str(SOURCE), "-c", os.devnull],
        check=False,
        capture_output=True,
        text=True,
        cwd=site,
        env={**kept, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_gets_its_leaderboard_row(privbench, tmp_path):
    done = privbench(RUN, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "margin-gap" in done.stdout
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("*.json")]
    (record,) = (each for each in records if each.get("attack", {}).get("name") == "margin-gap")
    assert record["attack"]["plugin"] == "margin-gap"
    assert record["attack"]["plugin_version"] == "1.2.3"
    assert record["status"] == "ok", record
