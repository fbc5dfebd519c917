import functools
import importlib
import importlib.metadata
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

import privbench
from privbench.builtin.defenses.transform import Transform
from privbench.contracts.context import Context
from privbench.devices import processor
from privbench.options.fields import spec
from privbench.options.named import all_parts
from privbench.plugins.loading import catalogue, resolve
from privbench.population.identity import ASKING, HARNESS, LENT
from privbench.population.population import Population
from privbench.population.releases import fit
from privbench.store import fingerprint
from privbench.store.fingerprint import component_key, core, source_hash
from privbench.store.syntax import Reference

EVERY = [(kind, name) for kind in ("task", "defense", "attack", "audit") for name in catalogue().of(kind)]
NEEDS_A_PATH = {"npz": "npz:path=x.npz", "faces": "faces:path=x.npz"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A third party's package: an attack, a helper that is imported by nobody at module level, and a data file."""
    root = tmp_path / "outsider"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "attack.py").write_text(
        '"""Docs."""\nfrom privbench.stats import signals\nfrom privbench.api import component\nimport json\n\n\n'
        "@component\nclass Out:\n    name = 'out'\n\n    def score(self, evidence):\n        return signals.phi\n"
    )
    (root / "helper.py").write_text("VALUE = 1\n")
    (root / "table.bin").write_bytes(b"\x00\x01")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [name for name in sys.modules if name.startswith("outsider")]:
        del sys.modules[name]
    fingerprint.forget()


def made(package):
    fingerprint.forget()
    importlib.invalidate_caches()
    sys.modules.pop("outsider.attack", None)
    return importlib.import_module("outsider.attack").Out()


def edit(file, before, after):
    source = file.read_text()
    assert before in source
    file.write_text(source.replace(before, after))


# Components --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_registered_component_has_a_key_of_its_own(kind, name):
    one = resolve(kind, NEEDS_A_PATH.get(name, name))
    key = component_key(one)
    assert key == component_key(resolve(kind, NEEDS_A_PATH.get(name, name)))
    parts = key.get("parts", [key])
    assert all(len(part["source"]) == 64 and part["name"] for part in parts)


def test_an_attribute_that_a_component_happens_to_have_changes_nothing():
    one = resolve("task", "cifar10")
    assert one.parts[0][0] == "data_batch_1", "it has parts, and is no chain"
    assert component_key(one)["name"] == "cifar10"
    assert spec(one) == "cifar10"


def test_the_key_holds_options_but_not_where_files_lie():
    one, other = resolve("task", "npz:path=a.npz"), resolve("task", "npz:path=b.npz")
    assert component_key(one) == component_key(other)
    assert component_key(one) != component_key(resolve("task", "npz:path=a.npz,lr=0.3"))


def test_a_chain_is_keyed_by_all_its_parts_and_by_how_it_chains():
    from privbench.population.composition import Chain

    ce, relaxed = resolve("defense", "ce"), resolve("defense", "relaxloss")
    key = component_key(Chain((ce, relaxed)))
    assert key["parts"] == [component_key(ce), component_key(relaxed)]
    assert key["source"] == source_hash(Chain)


# Third parties -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edited", ["attack.py", "helper.py"])
def test_editing_any_module_of_a_plugin_changes_its_key(package, edited):
    before = component_key(made(package))
    with (package / edited).open("a") as file:
        file.write("CHANGED = True\n")
    assert component_key(made(package)) != before


def test_a_data_file_of_a_plugin_counts_byte_by_byte(package):
    before = component_key(made(package))
    (package / "table.bin").write_bytes(b"\x00\x02")
    after = component_key(made(package))
    assert after != before
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert component_key(made(package)) == after


def test_docs_of_a_plugin_do_not_count(package):
    before = component_key(made(package))
    edit(package / "attack.py", '"""Docs."""', '"""Other docs."""\n# and a comment')
    assert component_key(made(package)) == before


def test_what_a_plugin_uses_of_privbench_counts(package, monkeypatch, edited):
    before = component_key(made(package))
    changed = edited(Reference("privbench.stats.signals", "phi"))
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "core", lambda: changed)
        assert component_key(sys.modules["outsider.attack"].Out()) != before


def test_the_key_of_a_plugin_holds_the_versions_of_the_libraries_it_imports(package, monkeypatch):
    (package / "helper.py").write_text("def late():\n    import pandas\n    import outsider.attack, json\n")
    before = component_key(made(package))
    assert before["libraries"] == {"pandas": pd.__version__}
    assert "libraries" not in component_key(resolve("defense", "ce")), "ours are in `library_versions`"
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "another" if name == "pandas" else version(name))
    assert component_key(made(package)) != before


def test_code_beside_a_plugin_that_no_distribution_brought_counts_too(package):
    (package.parent / "outsider_friend.py").write_text("VALUE = 1\n")
    (package / "helper.py").write_text("def late():\n    import outsider_friend\n")
    before = component_key(made(package))
    (package.parent / "outsider_friend.py").write_text("VALUE = 2\n")
    assert component_key(made(package)) != before


@pytest.mark.parametrize("imports", ["from space.helper import VALUE", "from . import helper", "import space.helper"])
def test_modules_of_a_folder_that_is_no_package_count_where_they_are_imported(tmp_path, imports):
    source = SCRIPT.replace("from friend import VALUE", imports)
    inside = tmp_path / "space"
    inside.mkdir()
    run = functools.partial(ran_as, tmp_path, "space.script", source=textwrap.dedent(source))
    before = run(helper="VALUE = 1\n")
    assert run(helper="VALUE = 2\n") != before
    assert run(helper="# docs\nVALUE = 1\n") == before


def test_a_package_in_a_namespace_counts_where_another_of_it_imports_it(tmp_path):
    source = textwrap.dedent(SCRIPT.replace("from friend import VALUE", "from space.common import VALUE"))
    (tmp_path / "space" / "common").mkdir(parents=True)
    hashes = set()
    for value in (1, 2):
        (tmp_path / "space" / "common" / "__init__.py").write_text(f"VALUE = {value}\n")
        hashes.add(ran_as(tmp_path, "space.own.script", source=source, __init__=""))
    assert len(hashes) == 2


def test_a_script_of_a_package_is_keyed_with_what_it_imports_relatively(tmp_path):
    source = textwrap.dedent(SCRIPT.replace("from friend import VALUE", "from .helper import VALUE"))
    run = functools.partial(ran_as, tmp_path, "parcel.script", source=source, __init__="")
    assert run(helper="VALUE = 1\n") != run(helper="VALUE = 2\n")


def ran_as(folder, module, *, source, **others):
    """Run a module by its dotted name, and return what it prints."""
    *parents, name = module.split(".")
    place = folder.joinpath(*parents)
    place.mkdir(parents=True, exist_ok=True)
    for other, text in {name: source, **others}.items():
        (place / f"{other}.py").write_text(text)
    done = subprocess.run([sys.executable, "-B", "-m", module], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_of_a_plugin_that_cannot_be_parsed_counts_by_its_bytes(package):
    (package / "template.py").write_text("class {{ name }}: pass\n")
    before = component_key(made(package))
    (package / "template.py").write_text("class {{ other }}: pass\n")
    assert component_key(made(package)) != before


@pytest.mark.parametrize("place", ["__pycache__/attack.nbi", ".git/index", ".ipynb_checkpoints/attack.py"])
def test_what_tools_keep_in_a_plugins_folder_does_not_count(package, place):
    before = component_key(made(package))
    (package / place).parent.mkdir(exist_ok=True)
    (package / place).write_text("x = 1\n")
    assert component_key(made(package)) == before


def test_data_files_of_code_beside_a_plugin_count_too(package):
    friend = package.parent / "outsider_friend"
    friend.mkdir()
    (friend / "__init__.py").write_text("")
    (package / "helper.py").write_text("import outsider_friend\n")
    before = component_key(made(package))
    (friend / "table.bin").write_bytes(b"\x00")
    assert component_key(made(package)) != before


@pytest.mark.parametrize("origin", ["", '{"url": "file:///x", "dir_info": {"editable": true}}'])
def test_code_of_the_same_distribution_or_of_one_that_is_edited_counts_too(package, monkeypatch, origin):
    other = "outsider" if not origin else "friend"
    for name, tops in {
        "outsider": "outsider\n" + "outsider_friend\n" * (not origin),
        "friend": "outsider_friend",
    }.items():
        info = package.parent / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        if name == "outsider" or origin:
            (info / "top_level.txt").write_text(tops)
        if name == other and origin:
            (info / "direct_url.json").write_text(origin)
    (package / "helper.py").write_text("import outsider_friend\n")
    hashes = set()
    for value in (1, 2):
        (package.parent / "outsider_friend.py").write_text(f"VALUE = {value}\n")
        hashes.add(component_key(made(package))["source"])
    assert len(hashes) == 2


FACTORY = """
from privbench.api import component

def make(factor, function=abs):
    @component
    class Out:
        name = 'out'

        def score(self, evidence):
            return function(factor)

    return Out
"""


def test_classes_that_a_function_makes_are_keyed_by_what_it_makes_them_with(package):
    (package / "attack.py").write_text(FACTORY)
    fingerprint.forget()
    make = importlib.import_module("outsider.attack").make
    arguments = [(1,), (2,), (1.0,), (1, len), ([1, 2],), ({"a": 1},), (1, lambda x: x), (1, lambda x: x + 1)]
    hashes = [source_hash(make(*each)) for each in arguments]
    assert hashes == [source_hash(make(*each)) for each in arguments]
    assert len(set(hashes)) == len(arguments)


def test_classes_of_a_loop_are_keyed_by_what_they_hold(package):
    (package / "attack.py").write_text(
        "from privbench.api import component\nALL = []\nfor size in (1, 2, 3):\n"
        "    @component\n    class Out:\n        name = 'out'\n        width = size\n    ALL.append(Out)\n"
    )
    fingerprint.forget()
    assert len({source_hash(cls) for cls in importlib.import_module("outsider.attack").ALL}) == 3


def test_what_is_edited_while_a_session_goes_on_changes_the_key(package):
    one = made(package)
    before = component_key(one)
    with (package / "helper.py").open("a") as file:
        file.write("CHANGED = True\n")
    assert component_key(one) != before


SCRIPT = """
    import sys
    from privbench.api import component
    from privbench.store.fingerprint import component_key
    from friend import VALUE

    @component
    class Mine:
        '''Docs.'''
        name = "mine"

        def score(self, evidence):
            return 1

    print(component_key(Mine())["source"])
"""


def run(folder, source, friend="VALUE = 1\n", *, module=False):
    (folder / "friend.py").write_text(friend)
    (folder / "script.py").write_text(textwrap.dedent(source))
    words = ["-m", "script"] if module else ["script.py"]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_component_of_a_script_is_keyed_by_the_script_and_what_lies_beside_it(tmp_path):
    before = run(tmp_path, SCRIPT)
    assert run(tmp_path, SCRIPT, module=True) == before
    assert run(tmp_path, SCRIPT.replace("'''Docs.'''", "'''Other docs.'''")) == before
    assert run(tmp_path, SCRIPT.replace("return 1", "return 2")) != before
    assert run(tmp_path, SCRIPT, friend="VALUE = 2\n") != before


NOTEBOOK = """
    import linecache, sys
    from privbench.store.fingerprint import component_key

    def cell(number, source):
        name = f"<cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), vars(sys.modules["__main__"]))

    del __file__
    cell(1, "import friend\\nfrom math import FUNCTION as chosen\\nimport functools\\n")
    cell(2, "LIMIT = ONE\\nSIZES = {'all': [TWO]}\\n")
    cell(3, "def _helper(x):\\n    return x + THREE\\n")
    cell(4, "@functools.lru_cache\\ndef wrapped(x):\\n    return x - FOUR\\n")
    cell(5, "class Settings:\\n    rate = FIVE\\n")
    cell(6, '''
    from privbench.api import component
    @component
    class Mine:
        name = "mine"
        @property
        def factor(self):
            return SIX
        def score(self, evidence):
            return chosen(_helper(LIMIT) + wrapped(SIZES["all"][0]) + Settings.rate + friend.VALUE)
    ''')
    print(component_key(sys.modules["__main__"].Mine())["source"])
    cell(7, "UNUSED = SEVEN\\n")
    print(component_key(sys.modules["__main__"].Mine())["source"])
    cell(2, "LIMIT = 100\\n")
    print(component_key(sys.modules["__main__"].Mine())["source"])
    cell(3, "def _helper(x):\\n    return x + 100\\n")
    print(component_key(sys.modules["__main__"].Mine())["source"])
"""

WORDS = {"ONE": 1, "TWO": 2, "THREE": 3, "FOUR": 4, "FIVE": 5, "SIX": 6, "SEVEN": 7, "FUNCTION": "sin"}


SESSIONS = """
    import json, sys, types
    from pathlib import Path

    script = sys.modules["__main__"]  # kept alive
    for friend, source in json.loads(Path("notebooks.json").read_text()):
        Path("friend.py").write_text(friend)
        sys.modules.pop("friend", None)
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.modules["__main__"].__file__ = "deleted by the notebook"
        exec(source, vars(sys.modules["__main__"]))
        print()
"""
"""Each notebook in a fresh `__main__`, all in one process."""


def notebooks(folder, *changes):
    """Return the hashes that each notebook prints, changed like this."""
    sources = []
    for changed in changes:
        source = textwrap.dedent(NOTEBOOK)
        for word, value in WORDS.items():
            source = source.replace(word, str(changed.get(word, value)))
        sources.append((changed.get("friend", "VALUE = 1\n"), source))
    (folder / "notebooks.json").write_text(json.dumps(sources))
    return [said.split() for said in run(folder, SESSIONS).split("\n\n") if said.strip()]


def test_a_component_of_a_notebook_is_keyed_by_the_cells_that_it_uses(tmp_path):
    changes = [{word: 50} for word in ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX")]
    changes += [{"FUNCTION": "cos"}, {"friend": "VALUE = 2\n"}]
    (before, later, *edited), (unused, *_), *changed = notebooks(tmp_path, {}, {"SEVEN": 8}, *changes)
    assert later == before == unused
    assert len({before, *edited}) == 3, "cells that are run again in the same session count"
    hashes = [first for first, *_ in changed]
    assert len({before, *hashes}) == 1 + len(changes), [h == before for h in hashes]


def test_a_component_without_any_source_is_refused(tmp_path):
    source = "from privbench.api import component\n@component\nclass Mine:\n    name = 'mine'\n"
    tail = "from privbench.store.fingerprint import component_key\ncomponent_key(Mine())\n"
    done = subprocess.run([sys.executable, "-"], input=source + tail, capture_output=True, text=True, check=False)
    assert "The source of 'Mine' cannot be found" in done.stderr


# Functions, libraries, machines ------------------------------------------------------------------------------


def test_a_function_is_what_is_inside_of_its_wrappers():
    expected = source_hash(Reference("privbench.stats.signals", "phi"))
    from privbench.stats import signals

    assert source_hash(signals.phi) == expected
    assert source_hash(functools.partial(functools.partial(signals.phi), 1)) == expected
    assert source_hash(Context().rng) == source_hash(Context)


def test_libraries_that_decide_bits_are_known():
    assert {"torch", "torchvision", "numpy", "scikit-learn", "scipy"} == set(fingerprint.library_versions())


def test_a_release_is_keyed_by_processor_and_libraries(task, store):
    manifest = Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", store).manifest(0)
    assert manifest["processor"] == processor("cpu")
    assert manifest["libraries"]["scikit-learn"] == importlib.metadata.version("scikit-learn")


# All that runs is hashed ---------------------------------------------------------------------------------------

HERE = Path(privbench.__file__).parent
STORING = (
    *(f"store.{name}" for name in ("store", "artifact", "atomic", "fingerprint", "definitions", "syntax")),
    *(f"population.{name}" for name in ("identity", "population", "releases")),
    "contracts.context",
    "devices",
    "errors",
)
"""Modules that keep and describe what is made, and do not shape it (but for what `HARNESS` names of them)."""


def ran(work):
    """Return the top-level definitions of privbench that run during some work."""
    found = set()

    def note(frame, event, _argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(HERE)):
            found.add((code.co_filename, code.co_firstlineno))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {defined for file, line in found if (defined := _defined(Path(file), line))}


@functools.cache
def _spans(file):
    name = ".".join(("privbench", *file.relative_to(HERE).with_suffix("").parts)).removesuffix(".__init__")
    module = core().module(name)
    return name, [
        (min([each.lineno, *(d.lineno for d in getattr(each, "decorator_list", []))]), each.end_lineno, defined)
        for defined, statements in module.defined.items()
        for each in statements
    ]


def _defined(file, line):
    module, spans = _spans(file)
    names = [name for start, end, name in spans if start <= line <= end and name]
    return Reference(module, names[0]) if names else None


@pytest.mark.parametrize(
    "name", [name for name, each in catalogue().of("defense").items() if each.plugin == "privbench"]
)
def test_every_line_that_makes_a_release_is_in_its_key(name, store):
    task = resolve("task", "digits:epochs=2,hidden=8,limit=120,warmup=1")
    quick = {
        "transform": ":gan_steps=2,cycle_steps=2,valuation_models=2",
        "fake-data": ":gan_steps=2",
        "dp-critic": ":gan_steps=2",
        "selena": ":models=3,held_out=1",
    }
    defense = resolve("defense", name + quick.get(name, ""))
    population = Population(task, task.load(), defense, 2, 0, "cpu", store)
    inner = []

    def keeping(_name, _key, make, context):
        outer = sys.getprofile()
        made = {}
        executed = ran(lambda: made.update(make(context)))
        sys.setprofile(outer)
        inner.append((make, executed))
        return made

    classes = [type(part) for part in all_parts(defense)]
    roots = [Reference(cls.__module__, cls.__qualname__) for cls in (type(task), *classes)]
    reached = core().reached([*roots, *HARNESS, Reference("privbench.population.composition", "Chain")])
    executed = ran(lambda: fit(population, 0, keeping, lambda _done, _stage: None))
    assert Reference("privbench.learn.training", "train") in executed
    hidden = {each for each in executed - reached if each.module.removeprefix("privbench.") not in STORING}
    assert not hidden
    for make, executed in inner:
        root = Reference(make.__module__, make.__qualname__.partition(".")[0])
        # The key of what valuing models find has the keys of the components that the options name.
        named = roots[1:] if root.name == "distances" else []
        reached = core().reached([root, *LENT, *roots[:1], *named])
        assert not {each for each in executed - reached if each.module.removeprefix("privbench.") not in STORING}, root


def test_every_line_that_answers_a_query_is_in_its_key(store):
    from privbench.population.queries import ask

    task = resolve("task", "digits:epochs=1,hidden=8,limit=120")
    population = Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", store)
    model = fit(population, 0, None, lambda _done, _stage: None).model
    x = population.dataset.role("test").x
    executed = ran(lambda: ask(model, x, 2, device="cpu"))
    assert Reference("privbench.population.queries", "_variant") in executed
    assert executed <= core().reached(ASKING)


def test_the_code_of_a_component_that_an_option_names_is_part_of_the_key(package):
    before = component_key(Transform(valued_by=thresholded(package)))
    assert before["named"]["valued_by"]["name"] == "out"
    assert set(component_key(Transform())["named"]) == {"valuation", "valued_by"}
    assert "named" not in component_key(resolve("attack", "lira"))
    edit(package / "attack.py", "return signals.phi", "return signals.neg_entropy")
    after = component_key(Transform(valued_by=thresholded(package)))
    assert before["source"] == after["source"]
    assert before != after


def thresholded(package):
    source = (package / "attack.py").read_text()
    if "threshold" not in source:
        needs = "    name = 'out'\n    needs = Needs()\n    threshold = 0.0\n"
        edit(package / "attack.py", "    name = 'out'\n", needs)
        edit(package / "attack.py", "import component", "import Needs, component")
    return made(package)
