"""Aligned queries: the same fixed variants of every example, for every model (LiRA, Carlini et al. 2022)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from privbench.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import Tensor, nn

    from privbench.aliases import Array
    from privbench.contracts.recipe import Recipe

REACH = {1: 0, 2: 0, 18: 1, 162: 4}
"""Number of queries -> largest shift in pixels."""
IMAGE_DIMENSIONS = 4


def queries_for(recipe: Recipe, is_image: bool) -> int:
    """Return the number of queries for queries=task: 2 if training mirrors images, else 1."""
    return 2 if is_image and recipe.flip > 0 else 1


def variants(queries: int) -> list[tuple[int, int, bool]]:
    """Return (rows down, columns right, mirrored) of each query: unmodified, mirrored, then shifts, near ones first.

    2, 18 and 162 begin with the queries of the number before them. Raises BadOption for another number.
    """
    if queries not in REACH:
        raise BadOption(f"queries={queries}: choose 1 (as is), 2 (mirrored), 18 (shifted by 1) or 162 (by up to 4).")
    steps = range(-REACH[queries], REACH[queries] + 1)
    shifts = sorted(itertools.product(steps, steps), key=lambda shift: (max(map(abs, shift)), shift))
    return [(*shift, mirrored) for shift in shifts for mirrored in (False, True)][:queries]


def ask(
    model: nn.Module, x: Array | Tensor, queries: int, *, device: str | torch.device, batch: int | None = None
) -> Array:
    """Return the logits (n, queries, classes) float32 of all variants of examples; query 0 is `predict`'s, bit for bit.

    x: as `Examples.x`, or laid out as by `to_inputs`, on any device
    batch: as in `predict`

    Variants are cut from the image padded by reflection; those of fewer queries come first, bit for bit. Raises
    BadOption for tables with more than one query, and for images too small to pad.
    """
    from privbench.learn.inference import answers, to_inputs

    shifts = variants(queries)
    inputs = to_inputs(x) if isinstance(x, np.ndarray) else x
    check((*inputs.shape[2:], inputs.shape[1]), queries)

    def views(some: Tensor) -> Iterator[Tensor]:
        padded = _pad(some, REACH[queries])
        return (_variant(some, padded, *shift) for shift in shifts)

    return answers(model, inputs, views, device=device, batch=batch)


def check(shape: tuple[int, ...], queries: int) -> None:
    """Raise BadOption if inputs of this shape, (height, width, channels) or (features,), do not support the queries."""
    if queries > 1 and len(shape) + 1 != IMAGE_DIMENSIONS:
        raise BadOption(f"queries={queries}: tables can only be queried as they are (queries=1).")
    if REACH[queries] and REACH[queries] >= min(shape[:2]):
        raise BadOption(
            f"queries={queries} shifts by up to {REACH[queries]} pixels: images of {shape[0]}x{shape[1]} are too small."
        )


def _pad(images: Tensor, reach: int) -> Tensor:
    """Return images with `reach` pixels of reflection on every side; torch's own padding does not take uint8."""
    import torch

    from privbench.learn.augmentation import reflect

    for axis in (2, 3) if reach else ():
        size = images.shape[axis]
        index = reflect(torch.arange(-reach, size + reach, device=images.device), size)
        images = images.index_select(axis, index)
    return images


def _variant(images: Tensor, padded: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    """Return one variant; the inputs themselves if nothing changes, so that layout and bits stay the same too."""
    import torch

    if down or right:
        height, width = images.shape[2:]
        top, left = (padded.shape[2] - height) // 2 + down, (padded.shape[3] - width) // 2 + right
        images = padded[:, :, top : top + height, left : left + width]
    if mirrored:
        images = images.flip(-1)
    return images.contiguous(memory_format=torch.channels_last) if down or right or mirrored else images
