from __future__ import annotations

import json
import platform

import pytest
import torch
from click.testing import CliRunner

from privbench import __version__
from privbench.cli import doctor, main
from privbench.plugins import loading as plugins
from privbench.plugins.loading import Catalogue, Problem
from privbench.store.artifact import save_json
from privbench.store.store import Store


@pytest.fixture
def found(monkeypatch, tmp_path):
    catalogue = Catalogue(plugins={"privbench": "1.0", "other": "2.1"})
    monkeypatch.setattr(plugins, "catalogue", lambda: catalogue)
    monkeypatch.setenv("PRIVBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PRIVBENCH_DATA", str(tmp_path / "data"))
    return catalogue


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


def test_a_sound_installation(found, tmp_path):
    result = run()
    assert result.exit_code == 0, result.output
    for part in (__version__, platform.python_version(), "torch", "other", "2.1", str(tmp_path / "data")):
        assert part in result.stdout
    assert result.stdout.endswith("Nothing is broken.\n")


def test_a_broken_plugin_is_named_with_the_reason(found):
    found.problems.append(Problem("bad", "ImportError: no module named 'x'"))
    result = run()
    assert result.exit_code == 1
    assert "plugin 'bad': ImportError: no module named 'x'" in result.stdout
    assert "Nothing is broken" not in result.stdout


def test_json(found, tmp_path):
    with Store(tmp_path / "store").write("model", {"index": 0}) as folder:
        save_json(folder / "value", {})
    report = json.loads(run("--json").stdout)
    assert report["problems"] == []
    assert report["broken"] == []
    assert report["plugins"] == {"privbench": "1.0", "other": "2.1"}
    assert report["store"]["artifacts"] == 1
    assert report["store"]["size"] > 0
    assert report["devices"]["cpu"] >= 1
    assert report["packages"]["numpy"][0].isdigit()


def test_json_says_so_with_its_exit_code_too(found):
    found.problems.append(Problem("bad", "broken"))
    result = run("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["broken"] == [{"plugin": "bad", "reason": "broken"}]


def test_a_missing_package(found, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    result = run()
    assert result.exit_code == 1
    assert "no-such-package is not installed" in result.stdout


def test_a_store_that_is_a_file(found, tmp_path):
    (tmp_path / "store").write_text("")
    result = run()
    assert result.exit_code == 1
    assert f"store {tmp_path / 'store'}: " in result.stdout


def test_torch_that_cannot_be_imported(found, monkeypatch):
    monkeypatch.setitem(doctor.sys.modules, "torch", None)
    result = run()
    assert result.exit_code == 1
    assert "torch cannot be imported" in result.stdout


def test_what_decides_last_bits_is_shown(found, monkeypatch):
    monkeypatch.setattr(doctor, "processor_name", lambda: "AMD EPYC 9354")
    devices = json.loads(run("--json").stdout)["devices"]
    assert devices["processor"] == "AMD EPYC 9354"
    assert devices["capability"] == torch.backends.cpu.get_cpu_capability()
    assert devices["threads"] == torch.get_num_threads()
    assert f"AMD EPYC 9354, torch uses {devices['capability']}, " in run().stdout


CARD = {
    "name": "NVIDIA A100",
    "capability": "8.0",
    "multiprocessors": 108,
    "memory": 40_000_000_000,
    "driver": "580.65",
    "cuda": "13.0",
    "cudnn": "92400",
    "used": True,
    "no_graph": "",
}


def test_cards_are_listed_with_what_drives_them_and_whether_they_capture_graphs(found, monkeypatch):
    other = {**CARD, "name": "NVIDIA T4", "driver": None, "used": False, "no_graph": "RuntimeError: cannot"}
    monkeypatch.setattr(doctor, "cards", lambda: [CARD, other])
    monkeypatch.setattr(doctor, "why_none", str)
    assert json.loads(run("--json").stdout)["devices"]["cuda"] == [CARD, other]
    text = run().stdout
    assert "cuda 0  NVIDIA A100 8.0, 40.0 GB, driver 580.65, CUDA 13.0, cuDNN 92400, CUDA graphs: yes\n" in text
    assert (
        "cuda 1  NVIDIA T4 8.0, 40.0 GB, CUDA 13.0, cuDNN 92400, CUDA graphs: no, RuntimeError: cannot, "
        "not used, because it is a different model than cuda 0\n"
    ) in text


def test_why_there_is_no_card_is_said_where_it_is_known(found, monkeypatch):
    monkeypatch.setattr(doctor, "cards", list)
    for why, row in (("", "  cuda  no\n"), ("Found no NVIDIA driver", "  cuda  no: Found no NVIDIA driver\n")):
        monkeypatch.setattr(doctor, "why_none", lambda why=why: why)
        assert row in run().stdout
