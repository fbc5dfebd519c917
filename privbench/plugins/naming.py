"""Names of components, which stand on command lines, in chains and records, and in the names of files."""

from __future__ import annotations

import re
from typing import Any

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST = 64
RIGHT = f"use lower-case words of letters and digits, joined by single dashes, at most {LONGEST} characters"
WORDS = {
    *("all", "privbench", "predictions", "dataset", "show"),
    *("task", "defense", "attack", "audit", "tasks", "defenses", "attacks", "audits"),
}
"""Words with another meaning on the command line."""
DEVICE = re.compile(r"(auto|cpu|cuda|fpga|gpu|hip|hpu|ipu|maia|meta|mps|mtia|npu|tpu|vulkan|xla|xpu)[0-9]*")
WINDOWS = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
"""Names that no file may have there, whatever follows a dot."""
OF_AUDITS = "audit-"
"""Prefix of the names of files of audits."""


def name_fault(name: Any, kind: str = "") -> str:
    """Return what is wrong with the name of a component of a kind, and what would be right; "" if nothing is."""
    if not isinstance(name, str) or len(name) > LONGEST or not NAME.fullmatch(name):
        right = dashed(name) if isinstance(name, str) else ""
        return RIGHT + (f", such as {right!r}" if right else "")
    mine = f"choose another, such as 'my-{name}'"
    wrong = {
        f"that word has another meaning on the command line: {mine}": name in WORDS,
        f"that is the name of a device: {mine}": DEVICE.fullmatch(name),
        f"Windows reserves that name: {mine}": WINDOWS.fullmatch(name),
        f"the files of audits begin with {OF_AUDITS!r}: {mine}": name.startswith(OF_AUDITS),
        f"in a chain, as in a+b, a name begins with a letter: {mine}": kind == "defense" and name[0].isdigit(),
    }
    return next((told for told, is_wrong in wrong.items() if is_wrong), "")


def dashed(name: str) -> str:
    """Return the closest name of the right form: my-attack for MyAttack or my_attack; "" if nothing of it can stay."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    return re.sub(r"[^a-z0-9]+", "-", words)[:LONGEST].strip("-")
