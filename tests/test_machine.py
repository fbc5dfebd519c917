import platform

import pytest

from privbench import machine


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
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", str)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert machine.processor_name() == name


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
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", str)
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert machine.vendor() == maker


def test_this_one_has_both():
    assert machine.processor_name()
    assert machine.vendor()
