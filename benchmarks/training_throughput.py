"""privbench's `train` against a bare torch loop: same model, batches, optimiser and thread, one process.

    OMP_NUM_THREADS=1 python benchmarks/training_throughput.py [CASE ...]

The bare loop is what a careful person writes for one experiment: inputs standardised once, in memory as float32, an
indexed batch, forward, loss, backward, `optimizer.step()` with torch's defaults; no augmentation module, no checks,
no progress. `bare+` is the same with the two things that `train` does for speed, fused optimiser and channels-last
images, so that the rest is the price of train's generality. In `cnn-augmented` the bare loops crop and flip the
whole batch by one offset and one coin, which is less work than the draw for every image that `train` makes.

Rounds alternate, so that a busy machine slows all alike; times are CPU seconds of the process, ratios are medians
over rounds of bare / train, above 1 where `train` is faster. The bar is 0.95 against `bare`.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from privbench.api import Blueprint, Context, Examples
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.learn.batches import lr_at
from privbench.learn.training import train

if TYPE_CHECKING:
    from collections.abc import Callable

BAR = 0.95


@dataclass(frozen=True)
class Case:
    """A model, images of random pixels, and a recipe."""

    model: str
    shape: tuple[int, int, int]
    n: int
    recipe: Recipe
    rounds: int


CASES = {
    "digits-mlp": Case("mlp", (1, 8, 8), 649, Recipe(epochs=10, batch_size=32), 15),
    "digits-mlp-adamw": Case("mlp", (1, 8, 8), 649, Recipe(epochs=10, batch_size=32, optimizer="adamw", lr=1e-3), 15),
    "cnn": Case("cnn", (3, 32, 32), 512, Recipe(epochs=1, batch_size=64, lr=0.01), 7),
    "cnn-augmented": Case("cnn", (3, 32, 32), 512, Recipe(epochs=1, batch_size=64, lr=0.01, crop=4, flip=0.5), 7),
    "mobilenet_v3_small": Case("mobilenet_v3_small", (3, 32, 32), 256, Recipe(epochs=1, batch_size=64, lr=0.01), 9),
}


def bare(task: Blueprint, examples: Examples, *, tuned: bool) -> None:
    recipe = task.recipe
    torch.manual_seed(0)
    x = torch.from_numpy(examples.x).permute(0, 3, 1, 2).float() / 255
    mean, std = x.mean(dim=(0, 2, 3), keepdim=True), x.std(dim=(0, 2, 3), keepdim=True)
    x, y = ((x - mean) / std).contiguous(), torch.from_numpy(examples.y)
    model = task.model()
    if tuned and task.shape != (1, 8, 8):
        model = model.to(memory_format=torch.channels_last)
    fused = True if tuned else None
    if recipe.optimizer == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=fused
        )
    done, per_epoch = 0, -(-len(y) // recipe.batch_size)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(y)).split(recipe.batch_size):
            batch = x[rows]
            if recipe.crop:
                top, left = torch.randint(2 * recipe.crop + 1, (2,)).tolist()
                padded = functional.pad(batch, (recipe.crop,) * 4, mode="reflect")
                batch = padded[:, :, top : top + task.shape[1], left : left + task.shape[2]]
            if recipe.flip and torch.rand(()) < recipe.flip:
                batch = batch.flip(-1)
            for group in optimizer.param_groups:
                group["lr"] = lr_at(recipe, done, per_epoch)
            loss = functional.cross_entropy(model(batch), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(name: str, case: Case) -> float:
    rng = np.random.default_rng(0)
    height, width = case.shape[1:]
    examples = Examples(
        rng.integers(0, 256, (case.n, height, width, case.shape[0]), dtype=np.uint8), rng.integers(0, 10, case.n)
    )
    task = Blueprint(name, case.recipe, case.shape, 10, lambda: build(case.model, case.shape, 10))
    ways: dict[str, Callable[[], object]] = {
        "train": lambda: train(task, examples, Context()),
        "bare": lambda: bare(task, examples, tuned=False),
        "bare+": lambda: bare(task, examples, tuned=True),
    }
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(case.rounds):
        for way in list(ways) if round_ % 2 else list(ways)[::-1]:
            times[way].append(seconds(ways[way]))
    ratio = {
        way: statistics.median(b / t for b, t in zip(times[way], times["train"], strict=True))
        for way in ("bare", "bare+")
    }
    rate = case.n * case.recipe.epochs / statistics.median(times["train"])
    verdict = "ok" if ratio["bare"] >= BAR else "BELOW THE BAR"
    print(
        f"{name:20} {rate:10,.0f} examples/s   vs bare {ratio['bare']:.2f}   vs bare+ {ratio['bare+']:.2f}   {verdict}"
    )
    sys.stdout.flush()
    return ratio["bare"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(min([measure(name, CASES[name]) for name in sys.argv[1:] or CASES]) < BAR)
