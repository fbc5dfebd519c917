"""The studies: each file names components that exist, with options that they have, and says its own command."""

import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from privbench.cli import main
from privbench.cli import run as module
from privbench.errors import UnknownName
from privbench.plugins.loading import resolve, resolve_all

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STUDIES = Path(__file__).parent.parent / "studies"
FILES = sorted(STUDIES.rglob("*.toml"))


def name_of(path):
    return path.relative_to(STUDIES).as_posix()


def command_of(path):
    [line] = [line for line in path.read_text().splitlines() if line.startswith("#     privbench ")]
    return shlex.split(line.removeprefix("#     privbench "))


def test_each_study_is_there_for_a_cpu_and_at_the_publications_size():
    names = {name_of(path) for path in FILES}
    assert names
    assert {name for name in names if ".paper." not in name} == {name.replace(".paper.", ".") for name in names}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_study_can_be_run(path, monkeypatch):
    words = command_of(path)
    assert words[-2:] == ["--config", f"studies/{name_of(path)}"]
    options = tomllib.loads(path.read_text())
    try:
        components = {kind: resolve_all(kind, options.get(kind, ())) for kind in ("task", "defense", "attack")}
        audit = resolve("audit", words[1]) if words[0] == "audit" else None
    except UnknownName as error:
        pytest.skip(str(error))  # of a plugin that is not installed
    assert components["task"]
    assert components["defense"]
    assert bool(components["attack"]) == (audit is None)
    planned = []

    def stop(options):
        planned.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "grid_of", stop)
    monkeypatch.chdir(STUDIES.parent)
    CliRunner().invoke(main, words)
    [given] = planned
    assert {name: list(given[name]) for name in options if isinstance(options[name], list)} == {
        name: value for name, value in options.items() if isinstance(value, list)
    }
    assert given["models"] == options["models"]
    assert Path(given["out"]) == Path(options["out"])
