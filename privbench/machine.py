"""The processor's name, which Python alone does not tell: last bits of results depend on what it can do."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Return the name of the processor, such as "AMD EPYC 9354"; of its architecture, where the system has none."""
    try:
        named = re.search(r"^model name[ \t]*:[ \t]*(\S.*)", _CPUINFO.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()
