"""Devices: their choice, and the cards behind them, which are made up here."""

import platform
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from privbench import devices
from privbench.contracts.context import Context
from privbench.errors import UsageError
from privbench.plugins.loading import resolve
from privbench.population.keeper import Keeper
from privbench.population.population import Population
from privbench.records import provenance

H100 = {"name": "NVIDIA H100 80GB HBM3", "major": 9, "minor": 0, "multi_processor_count": 132}
A100 = {"name": "NVIDIA A100-SXM4-40GB", "major": 8, "minor": 0, "multi_processor_count": 108}
PART = {**A100, "name": "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "multi_processor_count": 14}


@pytest.fixture
def cards(monkeypatch):
    """Return a function that puts cards into this machine."""

    def install(*found):
        devices.processor.cache_clear()
        devices.alike.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(found))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda device: SimpleNamespace(**found[torch.device(device).index or 0]),
        )
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92400)
        monkeypatch.setattr(devices, "may_have_gpu", lambda: True)

    for name in devices.CARD_DISPATCH:
        monkeypatch.delenv(name, raising=False)
    yield install
    devices.processor.cache_clear()
    devices.alike.cache_clear()


def test_auto_is_a_card_where_there_is_one(cards):
    cards()
    assert devices.choose("cpu") == "cpu"
    with pytest.raises(UsageError, match="'cuda' is not available to torch"):
        devices.choose("cuda")
    cards(H100)
    assert [devices.choose(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


@pytest.mark.parametrize(("name", "words"), [("cuda:1", "CUDA_VISIBLE_DEVICES=1"), ("tpu", "one of auto, cpu, cuda")])
def test_what_is_no_device_says_what_is_one(name, words):
    with pytest.raises(UsageError, match=words):
        devices.choose(name)


def test_a_card_is_known_by_its_model_its_capability_and_what_computes_on_it(cards, monkeypatch):
    cards(H100, A100)
    assert devices.processor("cuda") == devices.processor("cuda:0")
    assert devices.processor("cuda") == "NVIDIA H100 80GB HBM3 9.0 with 132 multiprocessors, CUDA 13.0, cuDNN 92400"
    assert devices.processor("cuda:1").startswith("NVIDIA A100-SXM4-40GB 8.0 with 108 multiprocessors, ")
    assert devices.processor("cpu").startswith(devices.platform.machine())
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert devices.card("cuda")["ROCm"] == "6.4"


def test_a_part_of_a_card_is_not_the_card(cards):
    cards(A100)
    whole = devices.processor("cuda")
    cards(PART)
    assert devices.processor("cuda") == (
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb 8.0 with 14 multiprocessors, CUDA 13.0, cuDNN 92400"
    )
    cards({**PART, "name": A100["name"]})  # as some drivers name it
    assert devices.processor("cuda") != whole


@pytest.mark.parametrize("name", devices.CARD_DISPATCH)
def test_what_libraries_are_told_is_part_of_the_card(cards, monkeypatch, name):
    cards(H100)
    monkeypatch.setenv(name, "0")
    assert devices.processor("cuda") == (
        f"NVIDIA H100 80GB HBM3 9.0 with 132 multiprocessors {name}=0, CUDA 13.0, cuDNN 92400"
    )


def test_another_card_or_cudnn_is_another_key(cards, monkeypatch, task, store):
    dataset, keys = task.load(), []
    changes = [
        lambda: cards(H100),
        lambda: cards(A100),
        lambda: cards(PART),
        lambda: (cards(H100), monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)),
    ]
    for change in changes:
        change()
        population = Population(task, dataset, resolve("defense", "ce"), 2, 0, "cuda", store)
        (key,) = {job.key for job in population.missing([]) if job.index == 0}
        keys.append(key)
    cards(H100)
    again = Population(task, dataset, resolve("defense", "ce"), 2, 0, "cuda", store)
    assert len(set(keys)) == len(changes)
    assert again.missing([])[0].key == keys[0]


def test_what_was_kept_of_another_card_is_made_again(cards, task, store):
    made = []

    def make(_ctx):
        made.append(devices.processor("cuda"))
        return {"x": np.zeros(1)}

    key = {"model_free": True, "inputs": "", "options": {}}
    for card in (H100, A100, H100, PART):
        cards(card)
        population = Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cuda", store)
        Keeper.of(population)("thing", key, make, Context(device="cuda"))
    assert [name.partition(" with")[0] for name in made] == [
        "NVIDIA H100 80GB HBM3 9.0",
        "NVIDIA A100-SXM4-40GB 8.0",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb 8.0",
    ]


def test_the_environment_of_a_record_names_the_card_and_of_a_processor_none(cards):
    cards(H100)
    found = provenance.environment("cuda")
    assert found["card"] == "NVIDIA H100 80GB HBM3 9.0 with 132 multiprocessors"
    assert (found["CUDA"], found["cuDNN"]) == ("13.0", "92400")
    assert found["processor"] == devices.processor("cpu")
    assert not {"card", "CUDA", "cuDNN"} & set(provenance.environment("cpu"))


def test_cards_of_one_kind_work_together_and_another_one_idles_with_a_word(cards, caplog):
    cards()
    assert devices.alike() == 0
    cards(H100, H100)
    assert devices.alike() == 2
    assert not caplog.records
    cards(H100, H100, A100, H100)
    assert devices.alike() == 2
    assert devices.alike() == 2
    (said,) = caplog.messages
    assert said.startswith("2 of 4 cards are used, those of one kind: NVIDIA H100 80GB HBM3 9.0 with")
    assert said.endswith("CUDA_VISIBLE_DEVICES chooses others.")


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model\t\t: 17\nmodel name\t: AMD EPYC 9354 \n\nmodel name\t: AMD EPYC 9354\n", "AMD EPYC 9354"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "aarch64"),  # many ARM systems name no model
        ("model name\t:\nflags\t: fpu\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_processor_has_a_name(tmp_path, monkeypatch, cpuinfo, name):
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", str)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert devices.processor_name() == name


@pytest.mark.parametrize(
    ("cpuinfo", "maker"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\n\nvendor_id\t: Other\n", "AuthenticAMD"),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", "0x41"),
        ("flags\t: fpu\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_processor_has_a_maker(tmp_path, monkeypatch, cpuinfo, maker):
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", str)
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert devices.vendor() == maker


def test_this_one_has_both():
    assert devices.processor_name()
    assert devices.vendor()
