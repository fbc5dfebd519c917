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
RUN = "run --task digits:limit=200,epochs=2 --defense ce --attack margin-gap --models 4 --jobs 1 --out out --store kept"
COMMANDS = {
    "list attack": 0,
    "list attack margin-gap": 0,
    "list attack margin-gpa": 2,
    "check margin-gap": 0,
    RUN: 0,
}
"""Command line -> its exit code."""
DRIVER = """
import os
import sys
import pytest
from privbench.cli import main
contract, *lines = sys.argv[1:]
for line in lines:
    print("$", line, flush=True)
    try:
        main(line.split(), prog_name="privbench")
    except SystemExit as done:
        print("exit", done.code, flush=True)
print("$ pytest", flush=True)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-c", os.devnull, contract]))
"""
"""One process for all, as importing torch takes longer than most of it."""


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


def python(site, folder, *words, **environment):
    """Run Python where it sees the distribution; return what it prints."""
    where = {"PYTHONPATH": str(site), "COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PRIVBENCH_PLUGINS"}
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**kept, **where, **environment},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def worked(site, tmp_path_factory):
    """The folder in which all commands were run, and what each printed, by command line."""
    folder = tmp_path_factory.mktemp("worked")
    said = python(site, folder, "-c", DRIVER, str(SOURCE / "contract.py"), *COMMANDS)
    parts = (part.partition("\n") for part in said.split("$ ")[1:])
    return folder, {line: " ".join(text.split()) for line, _, text in parts}


def test_it_is_short():
    assert len((SOURCE / "margin_gap.py").read_text().splitlines()) < LINES


def test_each_command_ends_as_it_should(worked):
    said = worked[1]
    assert said.keys() == {*COMMANDS, "pytest"}
    assert {line: text.partition("exit ")[2][:1] for line, text in said.items() if line != "pytest"} == {
        line: str(code) for line, code in COMMANDS.items()
    }


def test_it_is_listed_with_its_plugin_and_version(worked):
    said = worked[1]
    assert "1.2.3" in said["list attack"].partition("margin-gap")[2][:120]
    assert "how much of the shadows' margin is taken off" in said["list attack margin-gap"]


def test_it_is_gone_where_the_environment_leaves_it_out(site, tmp_path):
    said = python(site, tmp_path, "-m", "privbench", "list", "attack", PRIVBENCH_PLUGINS="")
    assert "lira" in said
    assert "margin-gap" not in said


def test_a_typing_error_is_led_to_it(worked):
    assert "Did you mean 'margin-gap'?" in worked[1]["list attack margin-gpa"]


def test_it_passes_the_checks_and_its_own_test_suite(worked):
    said = worked[1]
    assert "finds-a-leak" in said["check margin-gap"]
    assert " passed" in said["pytest"]
    assert "failed" not in said["pytest"]


def test_it_gets_its_leaderboard_row(worked):
    folder, said = worked
    assert "margin-gap" in said[RUN]
    records = [json.loads(path.read_text()) for path in (folder / "out").rglob("*.json")]
    (record,) = (each for each in records if each.get("attack", {}).get("name") == "margin-gap")
    assert record["attack"]["plugin"] == "margin-gap"
    assert record["attack"]["plugin_version"] == "1.2.3"
    assert record["status"] == "ok", record
