from __future__ import annotations

import importlib.util
import logging
import sys

import pytest

from privbench.errors import CannotWrite, CellFailed, InvalidScores
from privbench.failures import blamed, location, note, one_line


class Wordless(Exception):  # noqa: N818
    def __str__(self):
        return str(1 / 0)


class Base(BaseException):
    """No Exception, as SystemExit is none."""


class Component:
    """Its package is this test's module."""


def deep():
    return deep()


def leave():
    sys.exit("bye")


def raising(error):
    def act():
        raise error

    return act


def own_line(function):
    """Return file:line of a function's last line."""
    code = function.__code__
    return f"tests/test_failures.py:{max(line for *_, line in code.co_lines() if line)}"


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (leave, "SystemExit: bye"),
        (deep, "RecursionError: maximum recursion depth exceeded"),
        (raising(MemoryError()), "MemoryError"),
        (raising(GeneratorExit()), "GeneratorExit"),
        (raising(Base("no\nluck")), "Base: no luck"),
        (raising(Wordless()), "Wordless: (its message cannot be printed)"),
    ],
    ids=["exit", "recursion", "memory", "generator", "base", "wordless"],
)
def test_whatever_a_component_raises_fails_its_cell_and_names_the_line(act, reason):
    with pytest.raises(CellFailed) as failed, blamed(Component()):
        act()
    assert str(failed.value).startswith(reason)
    assert str(failed.value).endswith(f"({own_line(act)})")
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CannotWrite("disk full"), InvalidScores("NaN")])
def test_ctrl_c_and_our_own_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as passed, blamed(Component()):
        raise error
    assert passed.value is error


def test_the_line_is_the_components_own_not_the_librarys(tmp_path):
    package = tmp_path / "faulty"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "attack.py").write_text(
        "import json\n\n\nclass Attack:\n    def score(self):\n        json.loads('{')\n"
    )
    spec = importlib.util.spec_from_file_location("faulty.attack", package / "attack.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(CellFailed, match=r"JSONDecodeError: .* \(faulty/attack.py:6\)$"), blamed(module.Attack()):
        module.Attack().score()


def test_an_error_from_elsewhere_has_no_line():
    error = ValueError("a")
    assert location(error, Component()) == ""
    assert one_line(error) == "ValueError: a"


def test_a_long_message_is_cut():
    assert one_line(ValueError("x" * 10_000)) == "ValueError: " + "x" * 497 + "..."


def test_tracebacks_go_to_the_debug_log(caplog):
    error = CellFailed("no luck")
    vars(error)["__notes__"] = ["Traceback of a worker"]
    with caplog.at_level(logging.INFO, "privbench.failures"):
        note(error)
    assert not caplog.messages
    with caplog.at_level(logging.DEBUG, "privbench.failures"):
        note(error)
        note(CellFailed("bad luck"))
    assert caplog.messages == ["Traceback of a worker", "privbench.errors.CellFailed: bad luck"]
