"""Time `expected_privacy_loss` on 5,000 artificial points in 64 dimensions; the bar is 10 s on two cores.

    python benchmarks/expected_privacy_loss.py

5,000 members and 5,000 held-out records lose their K nearest artificial points in turn, for K chosen by kappa and for
the sweep 1, 5, 20, 100: the whole of what the audit does with one release, but for the features. Records and points
are draws of one Gaussian. The seconds are the median of the repeats, after one call that loads what is needed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import numpy as np

from privbench.builtin.audits.divergence import expected_privacy_loss

BAR = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    members, artificial, heldout = rng.normal(size=(3, args.points, args.dimension))
    expected_privacy_loss(members[:50], artificial[:200], heldout[:50])
    seconds, cpu = [], []
    for _ in range(args.repeats):
        start, used = time.perf_counter(), time.process_time()
        found = expected_privacy_loss(members, artificial, heldout)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    ok = statistics.median(seconds) <= BAR
    print(
        json.dumps(
            {
                "points": args.points,
                "dimension": args.dimension,
                "k": found.k,
                "mu_members": round(found.members.mu, 3),
                "seconds": round(statistics.median(seconds), 2),
                "cpu_seconds": round(statistics.median(cpu), 2),
                "bar": BAR,
                "ok": ok,
            },
            indent=2,
        )
    )
    sys.exit(not ok)


if __name__ == "__main__":
    main()
