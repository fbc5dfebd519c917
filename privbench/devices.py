"""Which device to use: `auto` is a GPU where there is one."""

from __future__ import annotations

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


def _may_have_gpu() -> bool:
    """Return whether it is worth the seconds that importing torch takes to ask it."""
    if sys.platform != "linux":
        return True
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or Path("/dev/kfd").exists()
