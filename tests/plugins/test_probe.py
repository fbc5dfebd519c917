import importlib.metadata
import json

import numpy as np
import pytest

from privbench.plugins import probe
from privbench.plugins.loading import Catalogue

SOUND = "from privbench import hookimpl\n\n\n@hookimpl\ndef register_attacks():\n    return []\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch, pytestconfig):
    """Make a plugin of some source; its entry point is returned."""
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))  # where another process finds `imported`
    monkeypatch.setattr(probe.platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        return importlib.metadata.EntryPoint(name, name, "privbench")

    return make


def imported(entry_points):
    for entry_point in entry_points:
        entry_point.load()
    return Catalogue()


def test_plugins_that_end_hang_or_change_others_are_found_out(plugin, monkeypatch):
    monkeypatch.setattr(probe, "COMPUTING", ("numpy",))
    monkeypatch.setattr(probe, "PATIENCE", 5.0)
    found = probe.problems(
        [
            plugin("probed_sound", SOUND),
            plugin("probed_ends", "import os\nos._exit(0)\n"),
            plugin("probed_hangs", "while True:\n    pass\n"),
            plugin("probed_patches", "import numpy\nnumpy.mean = numpy.median\n"),
        ],
        imported,
    )
    assert set(found) == {"probed_ends", "probed_hangs", "probed_patches"}
    assert "exit code 0" in found["probed_ends"]
    assert "takes more than 5 s. It is tried again in an hour" in found["probed_hangs"]
    assert "it replaces numpy.mean when it is imported" in found["probed_patches"]
    assert np.mean is not np.median


def test_a_sound_plugin_is_tried_once_until_it_changes(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "COMPUTING", ())
    entry_point = plugin("probed_once", SOUND)
    before = probe.signature(entry_point)
    assert probe.problems([entry_point], imported) == {}
    assert set(json.loads((tmp_path / "cache" / "plugins.json").read_text())) == {before}
    with monkeypatch.context() as patch:
        patch.setattr(probe, "LocalProcesses", lambda *_, **__: pytest.fail("it is tried again"))
        assert probe.problems([entry_point], imported) == {}
    plugin("probed_once", SOUND + "CHANGED = 1\n")
    assert probe.signature(entry_point) != before


def test_a_changed_module_beside_a_plugin_is_tried_again(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "COMPUTING", ())
    (tmp_path / "probed_helper.py").write_text("")
    entry_point = plugin("probed_helped", "import probed_helper\n" + SOUND)
    assert probe.problems([entry_point], imported) == {}
    (tmp_path / "probed_helper.py").write_text("import os\nos._exit(0)\n")
    assert "exit code 0" in probe.problems([entry_point], imported)["probed_helped"]


@pytest.mark.parametrize("content", ["", "[", '{"a": 1}', '{"a": {"b": null}}', "[1, null]", "[" * 100_000])
def test_a_damaged_memory_is_none(plugin, tmp_path, monkeypatch, content):
    monkeypatch.setattr(probe, "COMPUTING", ())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "plugins.json").write_text(content)
    assert probe.problems([plugin("probed_anew", SOUND)], imported) == {}


def test_a_plugin_that_never_returns_is_remembered_for_an_hour_until_it_changes(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "COMPUTING", ())
    monkeypatch.setattr(probe, "PATIENCE", 2.0)
    hanging, sound = plugin("probed_hanging", "while True:\n    pass\n"), plugin("probed_beside", SOUND)
    told = probe.problems([hanging, sound], imported)
    file = tmp_path / "cache" / "plugins-that-hang.json"
    assert str(file) in told["probed_hanging"]
    with monkeypatch.context() as patch:
        patch.setattr(probe, "LocalProcesses", lambda *_, **__: pytest.fail("it is tried again"))
        assert probe.problems([hanging, sound], imported) == told
    assert set(json.loads(file.read_text())) == {probe.signature(hanging)}

    def ends(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(probe, "LocalProcesses", ends)
    for age in (-10.0, 3601.0):  # a clock that was set back, and an hour later
        file.write_text(json.dumps({probe.signature(hanging): probe.time.time() - age}))
        with pytest.raises(ZeroDivisionError):
            probe.problems([hanging], imported)
    file.write_text(json.dumps({probe.signature(hanging): probe.time.time()}))
    plugin("probed_hanging", SOUND)
    with pytest.raises(ZeroDivisionError):
        probe.problems([hanging], imported)


@pytest.mark.parametrize("content", ["", "[", '{"a": null}', '{"a": "b"}', "[1]", "[" * 100_000])
def test_a_damaged_memory_of_those_that_hang_is_none(plugin, tmp_path, monkeypatch, content):
    monkeypatch.setattr(probe, "COMPUTING", ())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "plugins-that-hang.json").write_text(content)
    assert probe.problems([plugin("probed_afresh", SOUND)], imported) == {}
