import importlib
import importlib.metadata
import sys

import pandas as pd
import pytest

from privbench import fingerprint
from privbench.plugins import resolve


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A third party's package with a helper that is imported by nobody at module level."""
    root = tmp_path / "outsider"
    root.mkdir()
    (root / "__init__.py").write_text("from outsider import attack\n")
    (root / "attack.py").write_text("from privbench import signals\nimport json\n")
    (root / "helper.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [name for name in sys.modules if name.startswith("outsider")]:
        del sys.modules[name]
    _forget()


def _forget():
    fingerprint.source_hash.cache_clear()
    fingerprint._source.cache_clear()
    fingerprint.plugin_libraries.cache_clear()


def test_a_component_is_made_of_what_its_module_imports():
    files = fingerprint.source_files("privbench.defenses.relaxloss")
    assert {"privbench.defenses.relaxloss", "privbench.training", "privbench.augmentation", "privbench.api"} <= set(
        files
    )
    assert not any(name.startswith(("privbench.cli", "privbench.attacks", "privbench.metrics")) for name in files)


def test_imports_for_type_checkers_do_not_count():
    assert "privbench.population" not in fingerprint.source_files("privbench.api")


def test_a_package_brings_the_modules_that_it_loads_by_name():
    assert "privbench.models.resnet" in fingerprint.source_files("privbench.tasks.digits")


def test_a_third_party_brings_its_whole_package_and_what_it_uses_of_privbench(package):
    files = fingerprint.source_files("outsider.attack")
    assert {"outsider", "outsider.attack", "outsider.helper", "privbench.signals"} <= set(files)
    assert "json" not in files


@pytest.mark.parametrize("edited", ["attack.py", "helper.py"])
def test_editing_any_module_of_a_plugin_changes_its_hash(package, edited):
    before = fingerprint.source_hash("outsider.attack")
    with (package / edited).open("a") as file:
        file.write("CHANGED = True\n")
    _forget()
    assert fingerprint.source_hash("outsider.attack") != before


def test_the_key_holds_options_but_not_where_files_lie():
    one, other = resolve("task", "npz:path=a.npz"), resolve("task", "npz:path=b.npz")
    assert fingerprint.component_key(one) == fingerprint.component_key(other)
    assert fingerprint.component_key(one) != fingerprint.component_key(resolve("task", "npz:path=a.npz,lr=0.3"))


def test_a_chain_is_keyed_by_all_its_parts():
    from privbench.defenses.chain import Chain

    ce, relaxed = resolve("defense", "ce"), resolve("defense", "relaxloss")
    key = fingerprint.component_key(Chain((ce, relaxed)))
    assert key["parts"] == [fingerprint.component_key(ce), fingerprint.component_key(relaxed)]


def test_the_key_of_a_plugin_holds_the_versions_of_the_libraries_it_imports(package):
    (package / "helper.py").write_text("def late():\n    import pandas\n    import outsider.attack, json\n")
    _forget()
    assert fingerprint.plugin_libraries("outsider.attack") == {"pandas": pd.__version__}
    assert fingerprint.plugin_libraries("privbench.detection") == {}, "ours are in `library_versions`"


def test_a_plugins_library_of_another_version_never_gets_an_old_model(package, monkeypatch):
    (package / "attack.py").write_text(
        "import pandas\nfrom privbench.api import component\n\n\n@component\nclass Out:\n    name = 'out'\n"
    )
    _forget()
    made = importlib.import_module("outsider.attack").Out()
    before = fingerprint.component_key(made)
    assert before["libraries"] == {"pandas": pd.__version__}
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "another")
    _forget()
    assert fingerprint.component_key(made) != before
    assert "libraries" not in fingerprint.component_key(resolve("defense", "ce"))
