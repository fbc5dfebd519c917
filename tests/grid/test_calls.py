import importlib.util
import sys
from typing import ClassVar

import pytest

from privbench.api import component
from privbench.builtin.attacks.threshold import Confidence
from privbench.builtin.defenses.transform import Transform
from privbench.grid.calls import sendable, serves

OWN = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Own:
    name = "own"
"""


def test_components_of_installed_modules_can_be_sent():
    assert sendable(Confidence())


def test_a_class_inside_a_function_cannot_be_sent():
    class Local:
        pass

    assert not sendable(Confidence(), Local())


@pytest.mark.parametrize("on_path", [True, False])
@pytest.mark.parametrize("name", ["privbench_own_file", "privbench_own_folder.inside"])
def test_a_module_loaded_from_a_file_can_be_sent_if_it_is_found_elsewhere(tmp_path, monkeypatch, name, on_path):
    path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(OWN)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    if on_path:
        monkeypatch.syspath_prepend(tmp_path)
    assert sendable(module.Own()) == on_path


def test_a_module_of_the_same_name_elsewhere_is_another(tmp_path, monkeypatch):
    (tmp_path / "privbench_twice.py").write_text(OWN)
    other = tmp_path / "other"
    other.mkdir()
    (other / "privbench_twice.py").write_text(OWN)
    spec = importlib.util.spec_from_file_location("privbench_twice", other / "privbench_twice.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "privbench_twice", module)
    spec.loader.exec_module(module)
    monkeypatch.syspath_prepend(tmp_path)
    assert not sendable(module.Own())


def test_a_component_that_an_option_names_counts_too():
    @component
    class Named:
        """A defense of nobody's module."""

        name: ClassVar[str] = "named"

        def fit(self, task, examples, ctx):
            return None

    assert serves(Transform()) == ""
    assert sendable(Transform())
    naming = Transform(valuation=Named())
    assert serves(naming) == "named"
    assert not sendable(naming)
