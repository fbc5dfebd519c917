"""Time RMIA's counting (10,000 examples, 5,000 z) by sorting, beside the n by m matrix that the authors' tool makes.

    python benchmarks/rmia_scoring.py

Both sides get the same ratios r(x) and r(z), ready in float64, and do the rest in one process, taking turns: one makes
every LR(x, z) and counts those from gamma, the other is `share_beaten`. The shares must be equal. Memory is the most
that NumPy held at a time, measured in a run of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.builtin.attacks.rmia import share_beaten

if TYPE_CHECKING:
    from collections.abc import Callable


def naive(ratio: Any, strangers: Any, gamma: float) -> Any:
    """Return the share of z beaten, by way of the n by m matrix."""
    return (ratio[:, None] / strangers[None, :] >= gamma).mean(axis=1)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_mb(call: Callable[[], Any]) -> float:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--population", type=int, default=5_000)
    parser.add_argument("--gamma", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    own, strangers = rng.normal(0, 1, (args.examples, 1)), rng.normal(0, 1, args.population)
    sides = {
        "matrix": lambda: naive(np.exp(own[:, 0]), np.exp(strangers), args.gamma),
        "sorted": lambda: share_beaten(own, strangers, args.gamma),
    }
    np.testing.assert_array_equal(sides["matrix"](), sides["sorted"]())
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, call in sides.items():
            taken[name].append(seconds(call))
    median = {name: statistics.median(each) for name, each in taken.items()}
    print(
        json.dumps(
            {
                "examples": args.examples,
                "population": args.population,
                "seconds": {name: round(each, 5) for name, each in median.items()},
                "peak_mb": {name: round(peak_mb(call), 1) for name, call in sides.items()},
                "times_faster": math.floor(median["matrix"] / median["sorted"]),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
