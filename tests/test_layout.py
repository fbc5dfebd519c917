"""A test lies where what it tests lies, and goes through public names."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITES = {folder: next(folder.parent.glob("privbench_*")) for folder in ROOT.glob("plugins/*/tests")}
SUITES |= {ROOT / "tests": ROOT / "privbench"}
FILES = sorted(file for folder in (*SUITES, ROOT / "plugins/tests") for file in folder.rglob("*.py"))
OF_SEVERAL_MODULES = {
    "tests/builtin/attacks/test_published.py": "every attack on published synthetic examples",
    "tests/builtin/attacks/test_shadows.py": "what memberships of shadows give away",
    "tests/builtin/defenses/test_leak.py": "every defense",
    "tests/builtin/tasks/test_to_record.py": "every task that reads downloaded files",
    "tests/faults/test_attacks.py": "attacks that misbehave",
    "tests/faults/test_audits.py": "attacks that misbehave and that an audit names",
    "tests/faults/test_damage.py": "damage to the store",
    "tests/faults/test_defenses.py": "defenses that misbehave",
    "tests/faults/test_imports.py": "plugins that misbehave",
    "tests/faults/test_tasks.py": "tasks that misbehave",
    "tests/faults/test_kills.py": "runs that are killed",
    "tests/test_docs.py": "the pages",
    "tests/test_layout.py": "the tests",
    "tests/test_leaderboards.py": "the committed records",
    "tests/test_links.py": "the pages",
    "tests/test_studies.py": "the studies",
    "tests/test_other_machine.py": "runs on another processor",
    "tests/test_public_api.py": "the plugins in this repository",
    "tests/test_resume.py": "runs that are killed",
    "tests/test_schema_1.py": "records of earlier versions",
    "plugins/privbench-attacks/tests/test_label_only_sees_labels.py": "label_only.py, from outside",
    "plugins/privbench-defenses/tests/test_registered.py": "every defense that changes training",
    "plugins/privbench-defenses/tests/test_replayed.py": "every defense that trains",
}
ALLOWED = {
    "": {"_replace", "_exit", "_forward_hooks", "_backward_hooks"},  # of named tuples, os, torch
    "tests/builtin/generative/test_big_gan.py": {"_u", "_v"},  # torch's power iteration, which ours is compared with
    "tests/test_layout.py": {"_private", "_own", "_clip"},  # the examples below
    "tests/test_public_api.py": {"_clip"},  # examples of what a plugin may not do
    "tests/testing/test_attacks.py": {"_query"},  # an attack that cheats, and is caught
}
PATCHES = {"delattr", "delitem", "getattr", "hasattr", "object", "patch", "setattr", "setitem"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def private(name):
    return re.match(r"_[a-zA-Z]", name) is not None


def trespasses(source):
    """Return the private names of others that a test uses: imported, looked up, patched, or in a script in a string."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            whole = [*(name.name for name in node.names), getattr(node, "module", None) or ""]
            found |= {part for name in whole for part in name.split(".")}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in PATCHES:
            told = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            found |= {part for text in told for part in text.split(".")}
        elif isinstance(node, ast.Constant) and is_script(node.value):
            found |= trespasses(node.value)
    return {name for name in found if private(name)}


def is_script(value):
    """Return whether this is a text that another Python runs on privbench."""
    if not isinstance(value, str) or not re.search(r"^\s*(from|import) privbench", value, re.MULTILINE):
        return False
    try:
        return bool(ast.parse(value))
    except SyntaxError:
        return False


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_test_goes_through_public_names(path):
    allowed = ALLOWED[""] | ALLOWED.get(name_of(path), set())
    assert trespasses(path.read_text(encoding="utf-8")) <= allowed


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from privbench.stats import signals\nsignals.phi", set()),
        ("self._own = 1\nsignals.__name__", set()),
        ("from privbench.stats.signals import _clip", {"_clip"}),
        ("from privbench._private import clip", {"_private"}),
        ("def late():\n    signals._clip(1)", {"_clip"}),
        ("monkeypatch.setattr(signals, '_clip', None)", {"_clip"}),
        ("monkeypatch.setattr('privbench.stats.signals._clip', None)", {"_clip"}),
        ("SCRIPT = 'from privbench.stats import signals; signals._clip(1)'", {"_clip"}),
    ],
)
def test_a_private_name_is_found(source, found):
    assert trespasses(source) == found


@pytest.mark.parametrize("tests", SUITES, ids=name_of)
def test_a_test_lies_where_what_it_tests_lies(tests):
    """`foo/test_bar.py` tests the module or package `foo/bar`, and `foo/test_foo.py` the package `foo` itself."""
    lost = []
    for file in sorted(tests.rglob("test_*.py")):
        folder, name = SUITES[tests] / file.parent.relative_to(tests), file.stem.removeprefix("test_")
        is_there = any((folder / place).is_file() for place in (f"{name}.py", f"{name}/__init__.py"))
        is_there |= name == folder.name
        if is_there == (name_of(file) in OF_SEVERAL_MODULES):
            lost.append(name_of(file))
    assert lost == []


def test_exceptions_are_there():
    assert [name for name in {*OF_SEVERAL_MODULES, *ALLOWED} if not (ROOT / name).exists()] == []
