"""Conversion between images of examples and images of generators: in [-1, 1], on a square canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from privbench.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from privbench.aliases import Array
    from privbench.api import Blueprint, Examples

CANVASES = (8, 32, 64)
"""Sides in pixels of the available canvases; smaller images are centred on the next larger one."""
IMAGE_DIMENSIONS = 3


def canvas(task: Blueprint, name: str) -> int:
    """Return the side of the canvas for a task's images. Raises BadOption for tables and for images that are too large.

    name: of the defense, for the message
    """
    if len(task.shape) != IMAGE_DIMENSIONS:
        raise BadOption(f"defense {name!r} generates images, but task {task.task!r} has {task.shape[0]}-column tables.")
    side = max(task.shape[1:])
    fitting = [each for each in CANVASES if each >= side]
    if not fitting:
        raise BadOption(f"defense {name!r} generates images of up to {CANVASES[-1]} pixels, not {side}.")
    return fitting[0]


def to_canvas(x: Array, side: int) -> Tensor:
    """Return images (n, height, width, channels), uint8 or float32 in [0, 1], as float32 (n, channels, side, side).

    Values are in [-1, 1]; the padding around smaller images repeats their border, so that it has no edge.
    """
    scale = 127.5 if x.dtype == np.uint8 else 0.5
    images = torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2).float().div(scale).sub(1)
    top, left, bottom, right = _margins(x.shape[1:3], side)
    return functional.pad(images, (left, right, top, bottom), mode="replicate").contiguous()


def from_canvas(images: Tensor, shape: Sequence[int]) -> Array:
    """Return uint8 images (n, height, width, channels): the middle of the canvas, quantised to 256 levels.

    images: float32 (n, channels, side, side) in [-1, 1]
    shape: of one model input (channels, height, width)

    Published and training examples are never finer: low bits would distinguish generated from real examples.
    """
    height, width = shape[1:]
    top, left, _, _ = _margins((height, width), images.shape[-1])
    middle = images[:, :, top : top + height, left : left + width]
    levels = middle.detach().float().cpu().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    pixels: Array = levels.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def as_dtype(pixels: Array, dtype: npt.DTypeLike) -> Array:
    """Return uint8 pixels in the dtype of the real examples: uint8, or float32 in [0, 1]."""
    return pixels if np.dtype(dtype) == np.uint8 else pixels.astype(np.float32) / np.float32(255)


def grid(examples: Examples, classes: int, columns: int = 8) -> Array:
    """Return the first images of each class, as a note for figures: uint8 (classes, columns, height, width, channels).

    Black for missing images.
    """
    x = examples.x if examples.x.dtype == np.uint8 else np.rint(examples.x * 255).clip(0, 255).astype(np.uint8)
    out = np.zeros((classes, columns, *x.shape[1:]), np.uint8)
    for label in range(classes):
        chosen = x[examples.y == label][:columns]
        out[label, : len(chosen)] = chosen
    return out


def _margins(size: Sequence[int], side: int) -> tuple[int, int, int, int]:
    """Return the padding above, left, below and right that centres an image on the canvas."""
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    return top, left, side - size[0] - top, side - size[1] - left
