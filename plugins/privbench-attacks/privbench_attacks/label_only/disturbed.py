"""Shares of disturbed copies of examples that the target classifies correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.errors import CellFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privbench.api import Evidence

Array: TypeAlias = npt.NDArray[Any]

IMAGE_DIMENSIONS = 4
CHUNK = 2**22
"""Values of inputs that are rotated at a time."""


def share_of_augmented(evidence: Evidence, shift: int, rotate: int) -> Array:
    """Return (n,) float64: the share of an image's variants, itself included, that the target labels rightly.

    Raises CellFailed for tables, and for images that are too small to be shifted so far.
    """
    shape = evidence.input_shape
    if len(shape) + 1 != IMAGE_DIMENSIONS:
        raise CellFailed("label-only: tables have no augmentations; use method=noise or method=boundary.")
    if shift >= min(shape[:2]):
        raise CellFailed(f"label-only: shift={shift}, but images are {shape[0]}x{shape[1]} pixels.")
    right = (evidence.predictions[:, 0] == evidence.labels).astype(np.float64)
    count = 1
    for x in variants(evidence.x, shift, rotate):
        right += evidence.query(x) == evidence.labels
        count += 1
    return np.asarray(right / count)


def variants(x: Array, shift: int, rotate: int) -> Iterator[Array]:
    """Yield all variants of images (n, height, width, channels), but not the images themselves.

    Shifts by |down| + |right| = shift, 4 shift of them, uint8 staying so; then rotations by 1 to `rotate` degrees
    either way, float32. What comes in at the edges is reflected.
    """
    for down in range(-shift, shift + 1):
        right = shift - abs(down)
        for across in {right, -right} if shift else ():
            yield shifted(x, down, across)
    for degrees in range(1, rotate + 1):
        yield rotated(x, degrees)
        yield rotated(x, -degrees)


def shifted(x: Array, down: int, right: int) -> Array:
    """Return images moved by whole pixels, reflected at the edges: `queries` shifts them alike."""
    for axis, step in ((1, down), (2, right)):
        size = x.shape[axis]
        index = np.abs(np.arange(size) - step)
        x = x.take(np.where(index < size, index, 2 * (size - 1) - index), axis=axis)
    return x


def rotated(x: Array, degrees: float) -> Array:
    """Return images turned about their centre, counter-clockwise, with bilinear interpolation; float32 in [0, 1]."""
    import torch
    from torch.nn import functional

    height, width = x.shape[1:3]
    angle = np.deg2rad(degrees)
    sine, cosine = float(np.sin(angle)), float(np.cos(angle))
    # The grid runs from -1 to 1 along either side, whatever its length.
    matrix = torch.tensor([[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]])
    grid = functional.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)
    turned = np.empty(x.shape, dtype=np.float32)
    rows = max(1, CHUNK // max(1, x[:1].size))
    for at in range(0, len(x), rows):
        some = torch.tensor(as_float(x[at : at + rows])).permute(0, 3, 1, 2)
        found = functional.grid_sample(
            some, grid.expand(len(some), -1, -1, -1), mode="bilinear", padding_mode="reflection", align_corners=False
        )
        turned[at : at + rows] = found.permute(0, 2, 3, 1).numpy()
    return turned


def share_of_noisy(evidence: Evidence, levels: Sequence[float], draws: int) -> Array:
    """Return (n,) float64: the share of noisy copies that the target labels rightly, over all levels alike."""
    x, rng = as_float(evidence.x), evidence.rng("noise")
    bits = x.ndim == 2 and bool(np.isin(x, (0, 1)).all())  # noqa: PLR2004 - a table
    unit = feature_scale(x)
    right = np.zeros(len(x))
    for level in levels:
        for _ in range(draws):
            if bits:
                noisy = np.abs(x - (rng.random(x.shape, dtype=np.float32) < level))
            else:
                noisy = x + np.float32(level) * unit * rng.standard_normal(x.shape, dtype=np.float32)
            if x.ndim == IMAGE_DIMENSIONS:
                noisy = noisy.clip(0, 1)
            right += evidence.query(noisy) == evidence.labels
    return right / (len(levels) * draws)


def as_float(x: Array) -> Array:
    """Return inputs as float32, pixels in [0, 1]: the target answers them as it does the uint8 ones."""
    return np.asarray(x.astype(np.float32) / np.float32(255)) if x.dtype == np.uint8 else x


def feature_scale(x: Array) -> Array:
    """Return the unit of each feature, float32: standard deviations in tables, and 1 for pixels and for constants."""
    if x.ndim == IMAGE_DIMENSIONS:
        return np.ones(x.shape[1:], dtype=np.float32)
    scale = x.std(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray(np.where(scale > 0, scale, np.float32(1)))
