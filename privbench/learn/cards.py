"""Description of this machine's cards: name, driver, versions, and whether training can be captured there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

from privbench.devices import alike, card, may_have_gpu

SECONDS = 120
"""Time limit in seconds to import torch and capture a graph."""


def cards() -> list[dict[str, Any]]:
    """Return each visible card: name, compute capability, memory, versions, and why no graph can be captured there.

    used: whether workers use it

    Importing torch, in a process for each card, takes some seconds.
    """
    import torch

    if not torch.cuda.is_available():
        return []
    count, drives = int(torch.cuda.device_count()), driver()
    probes = [start_probe(index) for index in range(count)]
    found = []
    for index, probe in enumerate(probes):
        properties = torch.cuda.get_device_properties(index)
        about = {key.lower(): value for key, value in card(f"cuda:{index}").items() if key != "card"}
        found.append(
            {
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
                "memory": properties.total_memory,
                "driver": drives,
                **about,
                "used": index < alike(),
                "no_graph": _heard(probe),
            }
        )
    return found


def driver() -> str | None:
    """Return the version of NVIDIA's driver, if NVIDIA's tool reports it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    words = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=True).stdout.split()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0] if told else None


def why_none() -> str:
    """Return the reason why torch finds no card although one seems to be present, or an empty text."""
    import torch

    if torch.cuda.is_available() or not may_have_gpu():
        return ""
    try:
        torch.cuda.init()
    except Exception as error:  # noqa: BLE001 - torch and drivers raise what they like
        return " ".join(str(error).split()).partition(". ")[0]
    return ""


def start_probe(index: int) -> subprocess.Popen[str]:
    """Start a process that tries to capture a graph on a card, and prints why it cannot."""
    words = [sys.executable, "-m", "privbench.learn.graph_probe", str(index)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603


def _heard(probe: subprocess.Popen[str]) -> str:
    """Return the result of a probe process: empty if a graph can be captured, else the reason."""
    try:
        said, errors = probe.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return f"no answer in {SECONDS} s"
    if probe.returncode:
        return (errors.strip().splitlines() or [f"it ended with exit code {probe.returncode}"])[-1]
    return " ".join(said.split())
