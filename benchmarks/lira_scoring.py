"""Time LiRA (online, per-example variance, one query) beside plain vectorised NumPy; the bar is 3x.

    python benchmarks/lira_scoring.py
    python benchmarks/lira_scoring.py --examples 50000 --shadows 256

Both sides get the same phi, ready in float64 (shadows, examples), and the same membership; both do the whole of
their work from there, in one process, taking turns. privbench's side is `LiRA().score(evidence)` as a run calls it:
the stacking of the shadows' kept signals is in it. Computing phi from logits, which a run does once per model and
not per target, is timed apart and is in neither.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.builtin.attacks.lira import LiRA
from privbench.contracts.evidence import Answers, Evidence
from privbench.options.fields import build
from privbench.stats import signals

if TYPE_CHECKING:
    from collections.abc import Callable


def plain(phi: Any, shadow: Any, member: Any) -> Any:
    """Score in plain NumPy: phi (n,), shadow (s, n), member (s, n) bool."""

    def log_density(weight: Any) -> Any:
        count = weight.sum(axis=0)
        mean = (shadow * weight).sum(axis=0) / count
        variance = ((shadow - mean) ** 2 * weight).sum(axis=0) / (count - 1)
        return -0.5 * ((phi - mean) ** 2 / variance + np.log(variance))

    inside = member.astype(np.float64)
    return log_density(inside) - log_density(1 - inside)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--shadows", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    labels = rng.integers(0, args.classes, args.examples)
    member = np.zeros((args.shadows, args.examples), dtype=bool)
    for first in range(0, args.shadows, 2):
        member[first] = rng.random(args.examples) < 0.5
        member[first + 1 : first + 2] = ~member[first]
    shape = (args.examples, 1, args.classes)
    logits = [rng.normal(0, 3, shape).astype(np.float32) for _ in range(args.shadows + 1)]

    attack = build(LiRA, {"variance": "example", "queries": 1})
    answers = [Answers(lambda z=z: z, labels) for z in logits]  # type: ignore[misc]
    evidence = Evidence(attack.needs, labels, answers[0], answers[1:], member, classes=args.classes)
    from_logits = seconds(lambda: [each.signal(signals.phi) for each in answers])
    phi, shadow = evidence.signals(signals.phi)[:, 0], evidence.shadow_signals(signals.phi)[:, :, 0]
    np.testing.assert_allclose(attack.score(evidence), plain(phi, shadow, member), rtol=1e-6, atol=1e-6)

    ours, theirs = [], []
    for _ in range(args.repeats):
        theirs.append(seconds(lambda: plain(phi, shadow, member)))
        ours.append(seconds(lambda: attack.score(evidence)))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        json.dumps(
            {
                "examples": args.examples,
                "shadows": args.shadows,
                "privbench_seconds": round(statistics.median(ours), 5),
                "numpy_seconds": round(statistics.median(theirs), 5),
                "ratio": round(ratio, 2),
                "bar": 3.0,
                "ok": ratio <= 3.0,
                "phi_from_logits_seconds_per_model": round(from_logits / len(answers), 5),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
