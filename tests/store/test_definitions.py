"""The hash of a definition: what must change it, and what must not, on small trees and on every built-in."""

import ast
import functools
import os
import re
import shutil
from pathlib import Path

import pytest

import privbench
from privbench.plugins.loading import catalogue
from privbench.population.identity import ASKING, HARNESS
from privbench.store.definitions import EFFECTS, Definitions
from privbench.store.fingerprint import core
from privbench.store.syntax import Reference, Writer

HERE = Path(privbench.__file__).parent
BUILT_IN = {
    f"{kind} {name}": Reference(entry.cls.__module__, entry.cls.__qualname__)
    for kind in ("task", "defense", "attack", "audit")
    for name, entry in catalogue().of(kind).items()
    if entry.plugin == "privbench"
}


def definitions(root, package="pkg"):
    def find(name):
        place = root.joinpath(*name.split("."))
        files = (place.with_suffix(".py"), place / "__init__.py")
        return next((file for file in files if file.is_file()), None)

    return Definitions(package, find)


@pytest.fixture
def tree(tmp_path):
    """Write modules of a package `pkg` into a new folder, and return the definitions in it."""
    made = iter(range(100))

    def write(**modules):
        root = tmp_path / str(next(made))
        for name, source in {"__init__": "", **modules}.items():
            file = root / "pkg" / (name.replace("__in__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        return definitions(root)

    return write


ROOT = Reference("pkg.a", "f")
TREE = {
    "a": "from pkg.b import g\nfrom pkg import c\n\ndef f(x=1):\n    return g(x) + c.LIMIT\n"
    "\ndef unused():\n    return 1\n",
    "b": "from pkg.c import LIMIT\n\ndef g(x):\n    return x * h(x)\n\ndef h(x):\n    return x - 1\n",
    "c": "LIMIT = 3\nOTHER = 4\n",
}


def test_what_is_reached_is_what_is_used_and_no_more(tree):
    reached = tree(**TREE).reached([ROOT])
    assert {(each.module, each.name) for each in reached} == {
        ("pkg.a", "f"),
        ("pkg.b", "g"),
        ("pkg.b", "h"),
        ("pkg.c", "LIMIT"),
    }


@pytest.mark.parametrize(
    "edit",
    [
        {"a": TREE["a"].replace("x=1", "x=2")},
        {"b": TREE["b"].replace("x - 1", "x - 2")},
        {"c": "LIMIT = 4\nOTHER = 4\n"},
        {"c": "LIMIT = 3\nLIMIT += 1\n"},
        {"c": "LIMIT = 3\nif True:\n    LIMIT = 4\n"},
        {"b": TREE["b"] + "\nprint('side effect')\n"},
        {"__init__": "import os\nos.environ['A'] = 'b'\n"},
        {"a": TREE["a"].replace("c.LIMIT", "c.OTHER")},
        {"a": TREE["a"].replace("from pkg.b import g", "from pkg.b import h as g")},
        {"a": TREE["a"].replace("from pkg.b import g", "from numpy import g")},
    ],
)
def test_an_edit_of_what_is_used_changes_the_hash(tree, edit):
    assert tree(**{**TREE, **edit}).digest([ROOT]) != tree(**TREE).digest([ROOT])


@pytest.mark.parametrize(
    "edit",
    [
        {"a": TREE["a"].replace("return 1", "return 2")},
        {"a": '"""Docs."""\n' + TREE["a"].replace("def f(x=1):", 'def f(x: int = 1) -> int:\n    """Docs."""\n    #')},
        {"c": "OTHER = 5\nLIMIT = 3\n"},
        {"a": TREE["a"].replace("from pkg.b import g", "from pkg.again import g"), "again": "from pkg.b import *\n"},
        {"a": TREE["a"].replace("from pkg.b import g", "import pkg.b").replace("g(x)", "pkg.b.g(x)")},
        {"a": TREE["a"].replace("from pkg import c", "from . import c as limits").replace("c.LIMIT", "limits.LIMIT")},
        {"b": "from pkg.c import *\nfrom pkg.d import h\n\ndef g(x):\n    return x * h(x)\n", "d": TREE["b"]},
        {"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.never import X\n" + TREE["a"]},
        {"b": "Alias = list\n" + TREE["b"].replace("def h(x):", "def h(x: Alias):")},
    ],
)  # fmt: skip
def test_docs_places_and_what_is_not_used_change_nothing(tree, edit):
    assert tree(**{**TREE, **edit}).digest([ROOT]) == tree(**TREE).digest([ROOT])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\ndef f():\n    return x", "x: int = 1\ndef f():\n    return x"),
        ("def f():\n    x = 1\n    return x", "def f():\n    x: int = 1\n    return x"),
        ("def f():\n    x = 1\n    return x", "def f():\n    x: int\n    x = 1\n    return x"),
        (
            "class f:\n    def a(self): return 1\n    @property\n    def b(self): return 2\n    x = 3",
            "class f:\n    x = 3\n    @property\n    def b(self): return 2\n    def a(self): return 1",
        ),
        ("import numpy as np\ndef f():\n    return np.exp", "def f():\n    import numpy\n    return numpy.exp"),
        ("from typing import cast\ndef f(x):\n    return cast('int', x)", "def f(x):\n    return x"),
        (
            "def f(x):\n    return x",
            "from typing import overload\n@overload\ndef f(x: int) -> int: ...\ndef f(x):\n    return x",
        ),
    ],
)
def test_what_is_written_for_people_and_type_checkers_alone_changes_nothing(tree, before, after):
    assert tree(a=before + "\n").digest([ROOT]) == tree(a=after + "\n").digest([ROOT])


REGISTERED = (
    "import functools\n\n@functools.singledispatch\ndef g(x):\n    pass\n\n@g.register\ndef _h(x: {}):\n    return {}\n"
)


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("class f:\n{}\n", ("    a = 1\n    b = a", "    b = 2\n    a = 1")),
        ("class f:\n    def a(self): return {}\n    def a(self): return 3\n", "12"),
        ("x = {}\n\ndef f():\n    return [x for x in x]\n", ("[1]", "[2]")),
        ("size = {}\n\nclass f:\n    size = size\n", ("1", "2")),
        ("import sys\n\ndef g():\n    return {}\n\ndef f():\n    return getattr(sys.modules[__name__], 'g')\n", "12"),
        ("def g():\n    return {}\n\nf = vars()['g']\n", "12"),
        ("def f():\n    return {}\n", ("'\U0001fae0'", "'\U0001fae1'")),
        (REGISTERED.format("int", "{}") + "f = g\n", "12"),
        (REGISTERED.format("{}", 1) + "f = g\n", ("int", "str")),
    ],
)
def test_what_is_found_around_or_by_name_changes_the_hash(tree, source, values):
    assert len({tree(a=source.format(value)).digest([ROOT]) for value in values}) == len(values)


@pytest.mark.parametrize("imported", ["import pkg.b", "from pkg import b"])
def test_what_a_module_does_when_it_is_imported_changes_the_hash(tree, imported):
    source = f"{imported}\n\ndef f():\n    return 1\n"
    assert tree(a=source, b="print(1)\n").digest([ROOT]) != tree(a=source, b="print(2)\n").digest([ROOT])


def test_canonical_text_depends_on_no_version_of_unicode(tree):
    text = Writer(lambda *_: None, "pkg", lambda _: False)
    text.write(ast.parse("x = '\U0001fae0', f'\U0001fae0{1}', b'a'"))
    assert "".join(text.text).isascii()


def test_swapping_two_functions_that_are_both_reached_changes_the_hash(tree):
    source = "from pkg import b, c\n\ndef f():\n    return [{}.make(), {}.make()]\n"
    both = {"b": "def make():\n    return 1\n", "c": "def make():\n    return 2\n"}
    digests = {tree(a=source.format(*order), **both).digest([ROOT]) for order in ("bc", "cb", "bb", "cc")}
    assert len(digests) == 4


def test_functions_that_call_each_other_are_told_apart(tree):
    source = "def f(n):\n    return n and g(n - 1)\n\ndef g(n):\n    return n and f(n - {})\n"
    assert tree(a=source.format(1)).digest([ROOT]) != tree(a=source.format(2)).digest([ROOT])


def test_a_module_that_is_used_as_a_value_counts_as_a_whole(tree):
    source = "from pkg import b\n\ndef f(name):\n    return getattr(b, name)\n"
    assert Reference("pkg.b", "h") in tree(**{**TREE, "a": source}).reached([ROOT])


def test_a_name_that_cannot_be_found_adds_its_whole_module(tree):
    lazy = "def __getattr__(name):\n    return 1\n\nOTHER = 2\n"
    found = tree(a="from pkg import b\n\ndef f():\n    return b.lazy\n", b=lazy).reached([ROOT])
    assert {Reference("pkg.b", "__getattr__"), Reference("pkg.b", "OTHER")} <= found


def test_modules_that_are_loaded_by_name_bring_their_package(tree):
    source = "import importlib\n\ndef f(name):\n    return importlib.import_module('pkg.' + name)\n"
    assert Reference("pkg.sub.d", "g") in tree(a=source, sub__in____init__="", sub__in__d="def g(): pass\n").reached(
        [ROOT]
    )


def test_definitions_that_are_looked_up_by_name_bring_their_module(tree):
    found = tree(a="def f(name):\n    return globals()[name]\n\ndef g(): pass\n").reached([ROOT])
    assert Reference("pkg.a", "g") in found


def test_names_of_a_stranger_of_whom_everything_is_imported_count(tree):
    source = "from {} import *\n\ndef f():\n    return len(array(1))\n"
    assert tree(a=source.format("numpy")).digest([ROOT]) != tree(a=source.format("torch")).digest([ROOT])


def test_modules_that_import_a_name_from_each_other_end(tree):
    assert tree(
        a="from pkg.b import g\n\ndef f():\n    return g\n", b="from pkg.c import g\n", c="from pkg.b import g\n"
    ).digest([ROOT])


def test_a_name_that_is_imported_and_then_wrapped_brings_both(tree):
    source = "from pkg.b import g\ntry:\n    g = g(1)\nexcept ImportError:\n    g = None\n\ndef f():\n    return g\n"
    found = tree(**{**TREE, "a": source}).reached([ROOT])
    assert {Reference("pkg.b", "g"), Reference("pkg.a", "g")} <= found


def test_what_is_not_there_is_named(tree):
    with pytest.raises(LookupError, match=r"pkg.a defines no 'missing'"):
        tree(**TREE).digest([Reference("pkg.a", "missing")])


# Every built-in ----------------------------------------------------------------------------------------------


def copied(tmp_path):
    shutil.copytree(HERE, tmp_path / "privbench", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "privbench"


def all_digests(found):
    return {name: found.digest(roots) for name, roots in ROOTS.items()}


class _Bare(ast.NodeTransformer):
    """Takes docstrings away, and with `ast.unparse` all comments and layout."""

    def visit_Expr(self, node):
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def generic_visit(self, node):
        super().generic_visit(node)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.With | ast.For | ast.If) and not node.body:
            node.body = [ast.Pass()]
        return node


def test_docs_comments_and_layout_retrain_nothing(tmp_path):
    root = copied(tmp_path)
    for file in root.rglob("*.py"):
        tree = _Bare().visit(ast.parse(file.read_text()))
        file.write_text('"""Other docs."""\n# A comment.\n' + _future_first(ast.unparse(tree)))
    assert all_digests(definitions(tmp_path, "privbench")) == all_digests(core())


def _future_first(source):
    line = "from __future__ import annotations\n"
    return line + source.replace(line, "") if line in source else source


MOVED = ("seeds", "learn/training", "stats/signals", "learn/augmentation", "options/fields")


def test_moving_a_module_retrains_nothing(tmp_path):
    root = copied(tmp_path)
    (root / "moved").mkdir()
    (root / "moved" / "__init__.py").write_text('"""A folder."""\n')
    for place in MOVED:
        (root / f"{place}.py").rename(root / "moved" / f"{Path(place).name}.py")
    for file in root.rglob("*.py"):
        source = file.read_text()
        for place in MOVED:
            folder, _, name = f"privbench.{place.replace('/', '.')}".rpartition(".")
            source = source.replace(f"{folder}.{name}", f"privbench.moved.{name}")
            source = re.sub(rf"from {folder} import ([a-z_, ]*\b{name}\b[a-z_, ]*)", _imported(folder, name), source)
        file.write_text(source)
    assert all_digests(definitions(tmp_path, "privbench")) == all_digests(core())


def _imported(folder, moved):
    def places(found):
        names = found[1].split(", ")
        return "; ".join(f"from {'privbench.moved' if each == moved else folder} import {each}" for each in names)

    return places


ROOTS = {"harness": HARNESS, "asking": ASKING} | {name: [root] for name, root in BUILT_IN.items()}


@functools.cache
def own_parts():
    """Return for each root the definitions that it is made of, but those that a smaller one is made of too."""
    seen, own = set(), {}
    for name, parts in sorted(
        ((name, core().reached(roots)) for name, roots in ROOTS.items()), key=lambda each: len(each[1])
    ):
        own[name] = {*roots_of(name), *(parts - seen)}
        seen |= parts
    return own


def roots_of(name):
    return [each for each in ROOTS[name] if each in core().reached(ROOTS[name])]


@pytest.mark.parametrize("name", ROOTS)
def test_an_edit_of_any_definition_that_it_is_made_of_changes_it(name, edited):
    before = core().digest(ROOTS[name])
    for each in own_parts()[name]:
        assert edited(each).digest(ROOTS[name]) != before, each


def test_every_built_in_knows_its_parts():
    reached = {name: core().reached([root]) for name, root in BUILT_IN.items()}
    assert Reference("privbench.learn.training", "train") in reached["defense relaxloss"]
    assert Reference("privbench.learn.mlp", "build") in reached["task digits"]
    assert Reference("privbench.stats.signals", "phi") in reached["attack lira"]
    assert not any(each.module.startswith("privbench.cli") for found in reached.values() for each in found)
    assert not any(each.name == EFFECTS for found in reached.values() for each in found)
    assert Reference("privbench.stats.signals", "phi") not in reached["defense ce"], "no module counts as a whole"


@pytest.mark.parametrize("edit", ["longer", "touched", "gone"])
def test_an_edit_after_a_file_was_read_is_noticed(tmp_path, edit):
    file = tmp_path / "pkg" / "one.py"
    file.parent.mkdir()
    file.write_text("ONE = 1\n")
    unread = definitions(tmp_path)
    assert not unread.are_edited()
    read = definitions(tmp_path)
    read.module("pkg.one")
    assert not read.are_edited()
    if edit == "longer":
        file.write_text("ONE = 111\n")
    elif edit == "touched":
        os.utime(file, ns=(0, 0))
    else:
        file.unlink()
    assert read.are_edited()
    assert not unread.are_edited()
