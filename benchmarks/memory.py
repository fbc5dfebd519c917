"""Measure the peak memory of scoring 256 shadows x 50,000 examples x 100 classes; the bar is 1.5 GB.

    python benchmarks/memory.py                      5 GB of logits in a temporary folder
    python benchmarks/memory.py --scale 0.1          a tenth of the examples
    python benchmarks/memory.py --attack m-entropy

The logits lie in one .npy file per model, memory-mapped when asked for, as the store keeps them. They are written by
a child process, so that the peak (`ru_maxrss`: everything resident, pages of mapped files included) is the scoring's.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from privbench.contracts.evidence import Answers, Evidence
from privbench.plugins.loading import resolve

BAR_GB = 1.5


def members(shadows: int, examples: int) -> Any:
    rng = np.random.default_rng(1)
    halves = rng.random((shadows // 2, examples)) < 0.5
    return np.stack([halves, ~halves], axis=1).reshape(shadows, examples)


def write(folder: Path, shadows: int, examples: int, classes: int) -> None:
    """Write logits of the target (the last file) and of shadows that are surer of their members."""
    rng = np.random.default_rng(0)
    labels, member = np.arange(examples) % classes, members(shadows, examples)
    for model in range(shadows + 1):
        logits = rng.standard_normal((examples, 1, classes), dtype=np.float32)
        logits[np.arange(examples), 0, labels] += 4 + 2 * member[model % shadows]
        np.save(folder / f"{model}.npy", logits)


def peak_gb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shadows", type=int, default=256, help="an even number")
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the examples, for a smaller run")
    parser.add_argument("--attack", default="lira", help="as `privbench run` takes it; with one query per example")
    args = parser.parse_args()
    examples = int(args.examples * args.scale)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = (args.shadows, examples, args.classes)
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(folder, *sizes))
        writer.start()
        writer.join()
        if writer.exitcode:
            sys.exit("The logits could not be written; is there room in the temporary folder?")
        before = peak_gb()
        labels, member = np.arange(examples) % args.classes, members(args.shadows, examples)
        loaders = [
            functools.partial(np.load, folder / f"{model}.npy", mmap_mode="r") for model in range(args.shadows + 1)
        ]
        *shadows, target = [Answers(load, labels) for load in loaders]
        attack = resolve("attack", args.attack)
        evidence = Evidence(attack.needs, labels, target, shadows, member, classes=args.classes)
        start = time.perf_counter()
        scores = attack.score(evidence)
        print(
            json.dumps(
                {
                    "attack": args.attack,
                    "shadows": args.shadows,
                    "examples": examples,
                    "classes": args.classes,
                    "logits_gb": round(4 * (args.shadows + 1) * examples * args.classes / 1e9, 2),
                    "seconds": round(time.perf_counter() - start, 1),
                    "finite": bool(np.isfinite(scores).all()),
                    "peak_gb_before": round(before, 3),
                    "peak_gb": round(peak_gb(), 3),
                    "bar_gb": BAR_GB,
                    "ok": peak_gb() < BAR_GB,
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
