from __future__ import annotations

import importlib.util
import inspect
import logging
import sys

import pytest

from privbench import errors
from privbench.errors import CannotWrite, CellFailed, InvalidScores, blamed, location, note, one_line

CLASSES = {
    name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, errors.PrivbenchError)
}


def drawn():
    """Read the tree in the module's docstring as {name: parent}."""
    parents, path = {}, []
    for line in errors.__doc__.splitlines():
        drawing, name = line[: len(line) - len(line.lstrip(" │├└─"))], line.lstrip(" │├└─").split(" ")[0]
        if name in CLASSES:
            depth = (len(drawing) - 4) // 4
            path = [*path[:depth], name]
            parents[name] = path[-2] if depth else None
    return parents


def test_the_drawn_tree_is_the_tree():
    assert drawn() == {
        name: None if cls is errors.PrivbenchError else cls.__bases__[0].__name__ for name, cls in CLASSES.items()
    }


def test_usage_errors_exit_with_2_and_the_rest_with_1():
    for cls in CLASSES.values():
        assert cls.exit_code == (2 if issubclass(cls, errors.UsageError) else 1)
        assert cls.__doc__


@pytest.mark.parametrize(
    ("name", "told"), [("lrra", " Did you mean 'lira'?"), ("zzz", ""), ("lira", " Did you mean 'lira'?")]
)
def test_did_you_mean(name, told):
    assert errors.did_you_mean(name, iter(["rmia", "lira"])) == told


@pytest.mark.parametrize(("name", "meant"), [("LiRA", "lira"), ("EPS", "epsilon"), ("batchsize", "batch_size")])
def test_did_you_mean_minds_neither_case_nor_what_is_left_out(name, meant):
    assert errors.did_you_mean(name, ["epochs", "epsilon", "lira", "batch_size"]) == f" Did you mean {meant!r}?"


def test_undecodable_bytes_are_printable():
    assert errors.printable("caf\u00e9 b\udcff.npz") == "caf\u00e9 b\\udcff.npz"


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
    return f"tests/test_errors.py:{max(line for *_, line in code.co_lines() if line)}"


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
    assert location(error, Component.__module__) == ""
    assert one_line(error) == "ValueError: a"


def test_a_long_message_is_cut():
    assert one_line(ValueError("x" * 10_000)) == "ValueError: " + "x" * 497 + "..."


def test_tracebacks_go_to_the_debug_log(caplog):
    error = CellFailed("no luck")
    vars(error)["__notes__"] = ["Traceback of a worker"]
    with caplog.at_level(logging.INFO, "privbench.errors"):
        note(error)
    assert not caplog.messages
    with caplog.at_level(logging.DEBUG, "privbench.errors"):
        note(error)
        note(CellFailed("bad luck"))
    assert caplog.messages == ["Traceback of a worker", "privbench.errors.CellFailed: bad luck"]
