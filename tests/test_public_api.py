"""The plugins in plugins/ know privbench as anybody's would: by what docs/plugins.md says is public, and no more."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SECTION = re.search(r"^## The public API$(.+?)^## ", (ROOT / "docs/plugins.md").read_text(), re.MULTILINE | re.DOTALL)
PUBLIC = set(re.findall(r"^\| `(privbench[\w.]*)` \|", SECTION[1], re.MULTILINE))
TEMPLATES = ROOT / "privbench/cli/templates"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
MODULES = sorted(path for plugin in PLUGINS for path in plugin.rglob("*.py") if "/build/" not in path.as_posix())


def trespasses(source):
    """Return what of privbench a module uses that is not public, a line each."""
    tree, names = ast.parse(source), {}
    found = []
    for line, name, whole in imports(tree):
        names[name] = whole
        if not public(whole):
            found.append(f"line {line}: {whole} is not public")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and hidden(node.attr):
            base = ast.unparse(node.value)
            if re.match(r"\w+", base) and base.split(".")[0] in names:
                found.append(f"line {node.lineno}: {base}.{node.attr} is not public")
    return found


def imports(tree):
    """Yield the line, the name that is bound, and the full name of all that a module imports of privbench."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            whole = [(name.name, name.asname or name.name.split(".")[0]) for name in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            whole = [(f"{node.module}.{name.name}", name.asname or name.name) for name in node.names]
        else:
            continue
        yield from ((node.lineno, bound, name) for name, bound in whole if name.split(".")[0] == "privbench")


def public(whole):
    """Return whether this is a public module, or a name in one."""
    module, _, name = whole.rpartition(".")
    if whole in PUBLIC:
        return True
    if module == "privbench":
        return name in {"hookimpl", "__version__"}
    return module in PUBLIC and not hidden(name)


def hidden(name):
    return name.startswith("_") and not name.startswith("__")


def project(plugin):
    return tomllib.loads((plugin / "pyproject.toml").read_text())["project"]


def minimums(requirements):
    """Return the name and the least version of each requirement."""
    found = (re.match(r"([\w-]+)(?:\[[\w,]+\])?(?:>=([\w.]+))?", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in found}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_what_is_public_is_there(name):
    assert importlib.import_module(name).__doc__


def test_there_are_plugins_to_look_at():
    assert {plugin.name for plugin in PLUGINS} >= {"privbench-attacks", "privbench-defenses", "privbench-dp"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "plugins").as_posix())
def test_a_plugin_uses_only_what_is_public(path):
    assert trespasses(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "privbench/cli/templates").glob("*.py.tmpl")), ids=lambda path: path.name
)
def test_what_is_scaffolded_uses_only_what_is_public(path):
    assert trespasses(re.sub(r"\$(\w+)", r"\1_", path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from privbench.stats import intervals, signals", ""),
        ("import privbench.api as api\napi.Needs", ""),
        ("from privbench.stats import signals\nsignals.__name__", ""),
        ("self._own = 1\nfrom other import _private", ""),
        ("from privbench.store.store import Store", "privbench.store.store.Store is not public"),
        ("def late():\n    import privbench.run", "line 2: privbench.run is not public"),
        ("from privbench import store", "privbench.store is not public"),
        ("from privbench.stats.signals import _clip", "privbench.stats.signals._clip is not public"),
        ("from privbench.stats import signals as s\ns._clip(1)", "line 2: s._clip is not public"),
        ("import privbench\nprivbench.stats.signals._clip(1)", "line 2: privbench.stats.signals._clip is not public"),
    ],
)
def test_a_trespass_is_found(source, said):
    found = trespasses(source)
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_is_packed_like_the_others(plugin):
    core, made, module = project(ROOT), project(plugin), plugin.name.replace("-", "_")
    assert made["name"] == plugin.name
    assert made["version"] == "0.1.0"
    assert made["requires-python"] == core["requires-python"]
    assert made["license"] == core["license"]
    assert made["entry-points"] == {"privbench": {plugin.name.removeprefix("privbench-"): module}}
    assert (plugin / module / "__init__.py").exists()
    assert (plugin / made["readme"]).exists()
    assert "privbench" in minimums(made["dependencies"])


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_asks_for_no_older_library_than_privbench_does(plugin):
    core = minimums(project(ROOT)["dependencies"])
    asked = minimums(project(plugin)["dependencies"])
    assert {name: least for name, least in asked.items() if name in core} == {
        name: core[name] for name in asked if name in core
    }
