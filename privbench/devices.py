"""Which device to use: `auto` is a GPU where there is one."""

from __future__ import annotations

import functools
import os
import platform
import sys
from pathlib import Path

from privbench.errors import UsageError

NAMES = ("auto", "cpu", "cuda", "mps")


def choose(name: str) -> str:
    """Return "cpu", "cuda" or "mps" for a name on the command line. Raises UsageError for one that is not there."""
    if name not in NAMES:
        raise UsageError(f"No device {name!r}; use one of {', '.join(NAMES)}.")
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((kind for kind, there in available.items() if there), "cpu")
    if not available[name]:
        raise UsageError(f"Device {name!r} is not available to torch {torch.__version__} here; use --device auto.")
    return name


DISPATCH = ("ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
"""Variables by which libraries are told to compute as on another processor."""


@functools.lru_cache(maxsize=4)
def processor(device: str) -> str:
    """Return the kind of processor or card behind a device: of one kind, the same program gives the same bits."""
    if device.startswith("cuda"):
        import torch

        if torch.cuda.is_available():
            major, minor = torch.cuda.get_device_capability(device)
            return f"{torch.cuda.get_device_name(device)} {major}.{minor}"
    import numpy as np

    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    told = (f"{name}={os.environ[name]}" for name in DISPATCH if os.environ.get(name))
    return " ".join([platform.machine(), _vendor(), *found, *told])


def _vendor() -> str:
    """Return who made the processor: libraries choose their code by that too."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines() if listing.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("vendor_id", "CPU implementer")))
    return next(named, platform.processor() or "unknown")


def _may_have_gpu() -> bool:
    """Return whether it is worth the seconds that importing torch takes to ask it."""
    if sys.platform != "linux":
        return True
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or Path("/dev/kfd").exists()
