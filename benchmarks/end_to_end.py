"""Time the command line as a user does: `--help`, the README's command cold and cached, and 2 workers against 1.

    python benchmarks/end_to_end.py [--rounds 3] [--models 16]

Each is a whole process; the store is a fresh temporary folder. Workers are compared as a ratio in one run, alternating.
Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

README_COMMAND = ["run", "--defense", "relaxloss", "--attack", "lira"]
BARS = {"--help, s": 0.3, "README command, cached, s": 6.0}
SPEEDUP = 1.8


def seconds(*words: str, folder: Path | None = None) -> float:
    """Run one command, with a store and results in a folder; return its wall time."""
    places = ["--store", str(folder / "store"), "--out", str(folder / "out")] if folder else []
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "privbench", *words, *places], check=True, capture_output=True)
    return time.perf_counter() - start


def training_seconds(jobs: int, models: int) -> float:
    """Return the wall time that privbench reports for making the models alone."""
    with tempfile.TemporaryDirectory() as name:
        places = ["--store", f"{name}/store", "--out", f"{name}/out"]
        words = [*README_COMMAND, "--models", str(models), "--jobs", str(jobs), *places]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "privbench", *words], check=True, capture_output=True)
        cold = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "privbench", *words], check=True, capture_output=True)
        return cold - (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", type=int, default=64)
    options = parser.parse_args()
    figures = {"--help, s": statistics.median(seconds("--help") for _ in range(2 * options.rounds))}
    with tempfile.TemporaryDirectory() as name:
        figures["README command, cold, s"] = seconds(*README_COMMAND, folder=Path(name))
        cached = [seconds(*README_COMMAND, folder=Path(name)) for _ in range(options.rounds)]
        figures["README command, cached, s"] = statistics.median(cached)
    ratios = [training_seconds(1, options.models) / training_seconds(2, options.models) for _ in range(options.rounds)]
    figures[f"1 worker / 2 workers, {options.models} models"] = statistics.median(ratios)
    missed = [name for name, bar in BARS.items() if figures[name] > bar]
    missed += [name for name in figures if name.startswith("1 worker") and figures[name] < SPEEDUP]
    for name, value in figures.items():
        print(f"{name:40s} {value:8.2f}{'   missed' if name in missed else ''}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
