"""The plugin for pytest, as a project of somebody else's loads it."""

import os
import subprocess
import sys

LOOP = """
import pytest
from hypothesis import settings

def test_on_both(device):
    assert device == "cpu"

def test_profile():
    assert settings.default.derandomize
    assert settings.default.deadline is None

@pytest.mark.gpu
def test_on_a_card():
    pytest.fail("there is none")
"""


def run_pytest(folder, *words):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, f"--rootdir={folder}", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=folder,
    )
    return done.stdout + done.stderr


def test_a_conftest_that_names_it_gives_the_marker_the_fixture_and_the_profile(tmp_path):
    """By the option `-p` the tests of privbench themselves load it."""
    (tmp_path / "test_loop.py").write_text(LOOP, encoding="utf-8")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["privbench.pytest_plugin"]', encoding="utf-8")
    said = run_pytest(tmp_path, "--strict-markers", "-Werror", "-rs", "--hypothesis-profile=privbench")
    assert "2 passed, 2 skipped" in said
    assert "needs a CUDA card" in said


def test_hypothesis_need_not_be_there(tmp_path):
    (tmp_path / "test_plain.py").write_text("def test_plain(device):\n    assert device\n", encoding="utf-8")
    said = run_pytest(tmp_path, "-p", "no:hypothesispytest", "-p", "privbench.pytest_plugin", "-m", "not gpu")
    assert "1 passed, 1 deselected" in said


def test_importing_it_imports_neither_torch_nor_hypothesis():
    code = "import sys; import privbench.pytest_plugin; sys.exit(bool({'torch', 'hypothesis'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "torch or hypothesis was imported"
