"""What is told of cards, on made-up ones."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from privbench import devices
from privbench.learn import cards, graph_probe

ANSWERS = {
    "": ("print('')", ""),
    "a reason": ("print('RuntimeError: no\\n capture')", "RuntimeError: no capture"),
    "a crash": ("import sys; sys.exit('first\\nlast line')", "last line"),
    "a signal": ("import os; os.kill(os.getpid(), 9)", "it ended with exit code -9"),
}


@pytest.fixture
def two(monkeypatch):
    """Two cards of unequal kind."""
    kinds = [("NVIDIA H100", 9, 132), ("NVIDIA T4", 7, 40)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(kinds))

    def properties(device):
        name, major, processors = kinds[torch.device(device).index]
        return SimpleNamespace(name=name, major=major, minor=0, multi_processor_count=processors, total_memory=8)

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92400)
    monkeypatch.setattr(cards, "driver", lambda: "580.65")
    for cached in (devices.processor, devices.alike):
        cached.cache_clear()
    yield
    for cached in (devices.processor, devices.alike):
        cached.cache_clear()


def told(code, monkeypatch):
    """Have what a process for each card prints be that of some code."""

    def probe(_index):
        words = [sys.executable, "-c", code]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(cards, "start_probe", probe)


@pytest.mark.usefixtures("two")
def test_each_card_is_described(monkeypatch):
    told("print()", monkeypatch)
    first, second = cards.cards()
    assert first == {
        "name": "NVIDIA H100",
        "capability": "9.0",
        "multiprocessors": 132,
        "memory": 8,
        "driver": "580.65",
        "cuda": "13.0",
        "cudnn": "92400",
        "used": True,
        "no_graph": "",
    }
    assert (second["name"], second["used"]) == ("NVIDIA T4", False)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("kind", ANSWERS)
def test_why_no_graph_can_be_captured_is_the_last_word_of_a_process_of_its_own(kind, monkeypatch):
    code, why = ANSWERS[kind]
    told(code, monkeypatch)
    assert [card["no_graph"] for card in cards.cards()] == [why, why]


@pytest.mark.usefixtures("two")
def test_a_process_that_hangs_is_ended(monkeypatch):
    told("import time; time.sleep(60)", monkeypatch)
    monkeypatch.setattr(cards, "SECONDS", 0.5)
    assert cards.cards()[0]["no_graph"] == "no answer in 0.5 s"


def test_without_a_card_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cards.cards() == []
    monkeypatch.setattr(cards, "may_have_gpu", lambda: False)
    assert cards.why_none() == ""


def test_a_card_that_torch_cannot_use_is_said_to_be_so(monkeypatch):
    def fails():
        raise RuntimeError("Found no NVIDIA driver on\nyour system. Please check that you have one.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cards, "may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", fails)
    assert cards.why_none() == "Found no NVIDIA driver on your system"


def test_the_driver_is_what_its_tool_says(monkeypatch, tmp_path):
    monkeypatch.setattr(cards.shutil, "which", lambda _name: None)
    assert cards.driver() is None
    tool = tmp_path / "nvidia-smi"
    for script, version in (("echo 580.65.06; echo 580.65.06", "580.65.06"), ("exit 9", None), ("true", None)):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setattr(cards.shutil, "which", lambda _name: str(tool))
        assert cards.driver() == version


def test_the_probe_says_why_in_one_line_where_there_is_no_card():
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    words = [sys.executable, "-m", "privbench.learn.graph_probe", "0"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line


@pytest.mark.gpu
def test_a_graph_can_be_captured_on_this_card():
    assert graph_probe.obstacle(0) == ""
    assert cards.cards()[0]["no_graph"] == ""
