"""What ART's boundary attack asks per example, and whether seeding NumPy makes two of its runs agree.

    python benchmarks/label_only.py

A linear classifier of 8 x 8 images and 10 classes, so that nearly all of the time is ART's own; 20 examples (2 with
ART's default budget).
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

BUDGETS = {"1 step": (1, 100, 10, 20), "5 steps": (5, 100, 10, 20), "ART's default": (50, 10000, 100, 2)}
"""Steps, most and first evaluations of a gradient, examples."""


def main() -> None:
    """Print a row per budget."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifier

    rng, sizes = np.random.default_rng(0), []
    weights, images = rng.normal(size=(64, 10)), rng.random((20, 8, 8, 1)).astype(np.float32)

    def answer(x: Any) -> Any:
        sizes.append(len(x))
        return np.eye(10)[(x.reshape(len(x), -1) @ weights).argmax(axis=1)]

    print("budget | calls per example | inputs per example | CPU ms per example | largest difference of two runs")
    for name, (steps, most, first, count) in BUDGETS.items():
        x, distances = images[:count], []
        labels, start = answer(x), time.process_time()
        sizes.clear()
        for _ in range(2):
            np.random.seed(0)  # noqa: NPY002 - it is the question whether this suffices
            estimator = BlackBoxClassifier(answer, (8, 8, 1), 10, clip_values=(0.0, 1.0))
            attack = HopSkipJump(estimator, max_iter=steps, max_eval=most, init_eval=first, verbose=False)
            found = attack.generate(x=x, y=labels)
            distances.append(np.linalg.norm((found - x).reshape(count, -1), axis=1))
        runs = 2 * count
        cpu = 1000 * (time.process_time() - start) / runs
        apart = np.abs(distances[0] - distances[1]).max() / distances[0].mean()
        print(
            f"{name} | {len(sizes) / runs:.0f} | {sum(sizes) / runs:.0f} | {cpu:.1f} | {apart:.0%} of the mean distance"
        )


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
