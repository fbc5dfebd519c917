"""What `privbench new` writes passes its own tox, and the matrix of docs/test-your-plugin.md, against this checkout.

`tox -e downstream` runs it. It installs from a package index, but torch it takes from the base of the outer tox.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = Path(os.environ["PRIVBENCH_BASE"])
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
ENV = f"py{sys.version_info.major}{sys.version_info.minor}"
KINDS = ("attack", "defense", "task", "audit")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (made,) = folder.glob("privbench-*.whl")
    return made


def run(*words, cwd=None, **environment):
    """Run a command as from a shell outside of tox, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOX", "COVERAGE", "PYTEST"))}
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=kept | {name: str(value) for name, value in environment.items()},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def new(kind, folder):
    name = f"made-{kind}"
    run(sys.executable, "-m", "privbench", "new", kind, name, "--into", folder)
    return folder / f"privbench-{name}"


def test_its_own_tox(tmp_path, wheel):
    """Its environments see the base as PYTHONPATH, and so download no torch of their own.

    The tox.ini is the same for all kinds; the others are checked by the tools that it installed for one.
    """
    folder, *others = (new(kind, tmp_path) for kind in KINDS)
    base = ["-x", "testenv.install_command=python -m pip install {opts} {packages}"]
    packages = BASE / PYTHON[6:] / "lib" / PYTHON / "site-packages"
    base += ["-x", f"testenv.set_env+=PYTHONPATH={packages}"]
    said = run(sys.executable, "-m", "tox", "-e", f"lint,type,{ENV}", *base, cwd=folder, PRIVBENCH_SOURCE=wheel)
    for env in ("lint", "type", ENV):
        assert re.search(rf"^  {env}: OK", said, re.MULTILINE), said
    assert re.search(r"= \d+ passed", said), said
    tools = {"ruff": ["check", "format --check"], "mypy": [""]}
    for other in others:
        for tool, tasks in tools.items():
            (program,) = folder.glob(f".tox/*/bin/{tool}")
            for task in tasks:
                run(program, *task.split(), cwd=other, PYTHONPATH=packages)


def test_the_matrix(tmp_path, wheel):
    """Of its three columns `latest` is what the base is made of; the two others are run."""
    folder = new("attack", tmp_path)
    matrix = Path(shutil.copy(ROOT / "docs/tox-privbench.ini", folder))
    text, filled = re.subn(r"^(components =).*", r"\1 attack:made-attack", matrix.read_text(), flags=re.MULTILINE)
    assert filled == 1
    matrix.write_text(text)
    envs = [f"{ENV}-{privbench}" for privbench in ("oldest", "main")]
    words = [sys.executable, "-m", "tox", "-c", matrix, "-e", ",".join(envs)]
    privbenches = {"PRIVBENCH_OLDEST": wheel, "PRIVBENCH_LATEST": wheel, "PRIVBENCH_MAIN": ROOT}
    said = run(*words, cwd=folder, PRIVBENCH_BASE=BASE, **privbenches)
    for env in envs:
        assert re.search(rf"^  {env}: OK", said, re.MULTILINE), said
    assert said.count("none failed") == len(envs), said
