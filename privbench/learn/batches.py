"""Batches and learning rates of training steps, drawn on the CPU, one or more epochs at a time."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch

from privbench.learn import augmentation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from privbench.contracts.recipe import Recipe


def lr_at(recipe: Recipe, step: int, per_epoch: int) -> float:
    """Return the learning rate of one step, counted from 0 over the whole training, with `per_epoch` steps per epoch.

    Warm-up rises linearly and reaches the peak in its last step. Cosine decreases from there to almost 0; the
    milestones of "steps" are fractions of the whole training, including warm-up.
    """
    total, warmup = recipe.epochs * per_epoch, recipe.warmup * per_epoch
    if step + 1 < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "cosine":
        return recipe.lr * (1 + math.cos(math.pi * max(0.0, step - warmup) / max(1.0, total - warmup))) / 2
    if recipe.schedule == "steps":
        return recipe.lr * recipe.gamma ** sum(step / total >= milestone for milestone in recipe.milestones)
    return recipe.lr


def batch_sizes(n: int, size: int, *, drop_last: bool = False) -> list[int]:
    """Return the sizes of an epoch's batches, never a last one of a single example, which BatchNorm cannot process.

    A remainder of one is added to the batch before it; `drop_last` drops every remainder. Fewer examples than a batch
    are one batch.
    """
    full, rest = divmod(n, size)
    if not full:
        return [n]
    sizes = [size] * full
    if rest == 1 and not drop_last:
        sizes[-1] += 1
    elif rest and not drop_last:
        sizes.append(rest)
    return sizes


def orders(
    sizes: list[int],
    shape: torch.Size,
    recipe: Recipe | None,
    generator: torch.Generator,
    *,
    ahead: int,
    fixed: Tensor | None,
    device: torch.device,
) -> Iterator[list[Tensor]]:
    """Yield the order of rows in an epoch, and their augmentation, on the device; one epoch after another.

    recipe: None without augmentation
    ahead: number of epochs that are drawn and moved together
    """
    used = sum(sizes)
    while True:
        epochs = []
        for _ in range(ahead):
            order = torch.randperm(shape[0], generator=generator)[:used]
            drawn = [] if recipe is None else [augmentation.draw(used, shape[1:], recipe, generator)]
            if fixed is not None and recipe is not None:
                drawn = [augmentation.neutral(drawn[0], fixed[order], recipe)]
            epochs.append([order, *drawn])
        together = [torch.stack(part).to(device) for part in zip(*epochs, strict=True)]
        yield from map(list, zip(*together, strict=True))


def alike(
    sizes: list[int], of_rows: Sequence[Tensor], first: Sequence[Tensor], last: Sequence[Tensor]
) -> Iterator[list[Tensor]]:
    """Yield the tables of batches of one size after another: `first`, the per-row tables, and `last`."""
    step = row = 0
    for size, equal in itertools.groupby(sizes):
        steps = sum(1 for _ in equal)
        parts = [each[row : row + steps * size].unflatten(0, (steps, size)) for each in of_rows]
        before, after = ([each[step : step + steps] for each in tables] for tables in (first, last))
        yield [*before, *parts, *after]
        step, row = step + steps, row + steps * size
