"""Time the README's command and the default grid, cold, with two versions of privbench, in turns in one run.

    python benchmarks/against.py PYTHON [--rounds 1] [--no-grid]

PYTHON is the interpreter of the other version's environment. Defenses and attacks are named, for plugins may be
installed in one environment and not in the other; `rmia`, which is no built-in of older versions, is left out. Each is
a whole process, and the store a fresh temporary folder. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from end_to_end import README_COMMAND, seconds
from proof_parts import ATTACKS, DEFENSES, RECONSTRUCTION

GRID = ["run", *(word for name in DEFENSES for word in ("--defense", name))]
GRID += [word for name in (*ATTACKS, RECONSTRUCTION) for word in ("--attack", name)]
BARS = {"README command": 0.88, "grid": 0.85}


def cold(python: str, words: list[str]) -> float:
    with tempfile.TemporaryDirectory() as name:
        return seconds(*words, folder=Path(name), python=python)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--grid", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    missed = False
    for name, words in {"README command": README_COMMAND, **({"grid": GRID} if options.grid else {})}.items():
        pairs = [(cold(sys.executable, words), cold(options.python, words)) for _ in range(options.rounds)]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        missed |= ratio > BARS[name]
        print(f"{name:16s} {ours:7.1f} s, the other {theirs:7.1f} s, ratio {ratio:.2f}, bar {BARS[name]}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
