"""Inversion of 10 classes from 8 starts each, of the task `digits`' MLP trained on half of its pool; wall seconds.

    OMP_NUM_THREADS=1 python benchmarks/inversion.py

Each way of attacking is run three times, the median is given. Where starts stop early, at a confidence of 0.99, little
is to do; `all steps` runs every start to the last of 1,000 steps. The bar is 10 s for the defaults.
"""

from __future__ import annotations

import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from privbench.api import Blueprint, Context
from privbench.builtin.attacks.inversion import Inversion
from privbench.learn import predict, train
from privbench.plugins.loading import resolve
from privbench.seeds import numpy_generator

BAR, CLASSES, ROUNDS = 10.0, 10, 3
WAYS = {
    "defaults": Inversion(),
    "preset=paper": resolve("attack", "inversion:preset=paper"),
    "all steps": Inversion(gamma=1.0, beta=1000),
    "black box": Inversion(access="black-box"),
    "black box, pixels": Inversion(access="black-box", differences="pixels"),
}


def evidence() -> Any:
    task = resolve("task", "digits")
    dataset = task.load()
    shape, classes = dataset.shape, dataset.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, build=lambda: task.network(shape, classes))
    pool = dataset.role("pool")
    model = train(blueprint, pool[np.arange(0, len(pool), 2)], Context())
    return SimpleNamespace(
        model=model,
        input_shape=pool.x.shape[1:],
        query=lambda x: predict(model, x, device="cpu"),
        rng=lambda purpose="attack": numpy_generator(0, purpose),
    )


def main() -> int:
    target, missed = evidence(), False
    for name, attack in WAYS.items():
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            found = attack.invert(target, np.arange(CLASSES))
            seconds.append(time.perf_counter() - start)
        took = statistics.median(seconds)
        missed |= name == "defaults" and took > BAR
        print(f"{name:18} {took:6.2f} s   {found.queries:>9,} queries   p_c {found.confidence.min():.3f} or more")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
