"""Default number of workers on this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def default_workers(device: str) -> int:
    """Return the number of usable cores for "cpu", of identical GPUs for "cuda", else 1; at least 1."""
    if device == "cpu":
        return cores()
    if device == "cuda":
        from privbench.devices import alike

        return max(1, alike())
    return 1


def cores() -> int:
    """Return the number of cores that this process may use, from its affinity and the quota of its container."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, *(int(quota) for quota in quotas(CONTROL_GROUPS, OWN_GROUPS)), usable))


def quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of this process's control groups (Linux, version 1 and 2) and their parents."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers
        inner = base / path.lstrip("/")
        for folder in (inner, *inner.parents[: len(inner.parts) - len(base.parts)]):
            with contextlib.suppress(OSError, ValueError):  # no such file: no limit; "max": no limit
                yield _quota(folder, version=1 if controllers else 2)


def _quota(folder: Path, version: int) -> float:
    if version == 1:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    else:
        quota, period = map(int, (folder / "cpu.max").read_text().split())
    if quota <= 0 or period <= 0:
        raise ValueError("no limit")
    return quota / period
