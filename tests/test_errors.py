from __future__ import annotations

import inspect

import pytest

from privbench import errors

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
