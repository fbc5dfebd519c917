"""The processor's name and maker, which Python alone does not tell: last bits of results depend on what it can do."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Return the name of the processor, such as "AMD EPYC 9354"; of its architecture, where the system has none."""
    return _told("model name") or platform.processor() or platform.machine()


def vendor() -> str:
    """Return who made the processor: libraries choose their code by that too."""
    return _told("vendor_id", "CPU implementer") or platform.processor() or "unknown"


def _told(*names: str) -> str:
    """Return what the system says under one of the names, of the first core; or nothing."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^(?:{'|'.join(names)})[ \t]*:[ \t]*(\S.*)", text, re.MULTILINE)
    return found[1].strip() if found else ""
