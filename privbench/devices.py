"""Devices: selection and identification; `auto` is a GPU if there is one."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import platform
import re
import sys
from pathlib import Path

from privbench.errors import UsageError

NAMES = ("auto", "cpu", "cuda", "mps")

_log = logging.getLogger(__name__)


def choose(name: str) -> str:
    """Return "cpu", "cuda" or "mps" for a name on the command line. Raises UsageError for an unavailable device."""
    if name.startswith("cuda:"):
        raise UsageError(card_hint(name))
    if name not in NAMES:
        raise UsageError(f"No device {name!r}; use one of {', '.join(NAMES)}.")
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((kind for kind, there in available.items() if there), "cpu")
    if not available[name]:
        raise UsageError(f"Device {name!r} is not available to torch {torch.__version__} here; use --device auto.")
    return name


def card_hint(name: str) -> str:
    """Return the replacement for cuda:1 on the command line."""
    return f"No device {name!r}; use cuda, and CUDA_VISIBLE_DEVICES={name[5:]} to choose among cards."


DISPATCH = ("ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
"""Environment variables that make libraries compute as on another processor."""
CARD_DISPATCH = (
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "CUBLAS_WORKSPACE_CONFIG",
)
"""Environment variables that change how libraries compute on a card."""


@functools.lru_cache(maxsize=64)
def processor(device: str) -> str:
    """Return the kind of processor or card behind a device: of one kind, the same program gives the same bits."""
    if found := card(device):
        return ", ".join([found["card"], *(f"{name} {value}" for name, value in found.items() if name != "card")])
    import numpy as np

    simd = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return " ".join([platform.machine(), vendor(), *simd, *_told(DISPATCH)])


def card(device: str) -> dict[str, str]:
    """Return a card's model with its compute capability, and the versions of its libraries; empty without a card.

    A part of a card (MIG) is identified as such; it has fewer multiprocessors, on whose number the choice of kernels
    depends.
    """
    if not device.startswith("cuda"):
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    found = torch.cuda.get_device_properties(device)
    model = f"{found.name} {found.major}.{found.minor} with {found.multi_processor_count} multiprocessors"
    kind, version = ("CUDA", torch.version.cuda) if torch.version.cuda else ("ROCm", torch.version.hip)
    versions = {kind: str(version), "cuDNN": str(torch.backends.cudnn.version())}
    return {"card": " ".join([model, *_told(CARD_DISPATCH)]), **versions}


@functools.lru_cache(maxsize=1)
def alike() -> int:
    """Return the number of cards, from the first on, of the same kind: on others the same program gives other bits."""
    import torch

    kinds = [processor(f"cuda:{index}") for index in range(torch.cuda.device_count())]
    same = len(list(itertools.takewhile(lambda kind: kind == kinds[0], kinds)))
    if same < len(kinds):
        _log.warning(
            "%d of %d cards are used, those of one kind: %s, not %s; CUDA_VISIBLE_DEVICES chooses others.",
            *(same, len(kinds), kinds[0], kinds[same]),
        )
    return same


def _told(names: tuple[str, ...]) -> list[str]:
    """Return the variables that are set, with their values."""
    return [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]


def may_have_gpu() -> bool:
    """Return whether a GPU is likely enough to spend the seconds of importing torch."""
    if sys.platform != "linux":
        return True
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or Path("/dev/kfd").exists()


CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Return the name of the processor, such as "AMD EPYC 9354"; its architecture if the system has no name."""
    return _told_of_cpu("model name") or platform.processor() or platform.machine()


def vendor() -> str:
    """Return the vendor of the processor, on which libraries base their choice of code."""
    return _told_of_cpu("vendor_id", "CPU implementer") or platform.processor() or "unknown"


def _told_of_cpu(*names: str) -> str:
    """Return the system's value for one of the names, for the first core; or an empty text."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^(?:{'|'.join(names)})[ \t]*:[ \t]*(\S.*)", text, re.MULTILINE)
    return found[1].strip() if found else ""
