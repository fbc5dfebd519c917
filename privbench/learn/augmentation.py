"""Random crop, flip and cutout on the device, a whole batch at once, with separate parameters for every image.

Parameters are drawn in advance (`draw`) from a CPU generator, so that they are the same on every device, and then
applied without a loop over images (`augment`): crop and flip only permute pixels, so both are one gather.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from privbench.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from privbench.contracts.recipe import Recipe

IMAGE_DIMENSIONS = 3
CHUNK = 1024
TOP, LEFT, MIRRORED, CUT_ROW, CUT_COLUMN = range(5)
OUTSIDE = -(2**20)
"""Centre of a cutout outside the image, which cuts nothing."""


def augments(recipe: Recipe) -> bool:
    """Return whether the recipe changes images at all."""
    return bool(recipe.crop or recipe.flip or recipe.cutout)


def check(recipe: Recipe, shape: Sequence[int]) -> None:
    """Raise BadOption for a recipe that does not suit inputs of this shape, (channels, height, width)."""
    if recipe.copies and not augments(recipe):
        raise BadOption(f"copies={recipe.copies}: copies are of augmented images, but crop, flip and cutout are all 0.")
    if augments(recipe) and len(shape) != IMAGE_DIMENSIONS:
        raise BadOption("crop, flip and cutout are for images, but this task has tables; set all three to 0.")
    if recipe.crop >= min(shape[1:], default=recipe.crop + 1):
        raise BadOption(
            f"crop={recipe.crop}: images of {shape[1]}x{shape[2]} pixels can be padded by reflection "
            f"by at most {min(shape[1:]) - 1}."
        )


def reflect(index: Tensor, size: int) -> Tensor:
    """Return positions mirrored at both borders, edge not repeated: -1 -> 1, size -> size - 2."""
    last = size - 1
    return last - (last - index.abs()).abs()


def draw(n: int, shape: Sequence[int], recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return (n, 5) int64: each image's crop offset (row, column), whether it is mirrored, and its cutout's centre.

    Every column is drawn for any recipe, so that switching one operation off does not change the others.
    """
    _, height, width = shape
    columns = torch.empty((n, 5), dtype=torch.int64)
    for column, bound in (
        (TOP, 2 * recipe.crop + 1),
        (LEFT, 2 * recipe.crop + 1),
        (CUT_ROW, height),
        (CUT_COLUMN, width),
    ):
        columns[:, column] = torch.randint(bound, (n,), generator=generator)
    columns[:, MIRRORED] = torch.rand(n, generator=generator) < recipe.flip
    return columns


def neutral(draws: Tensor, where: Tensor, recipe: Recipe) -> Tensor:
    """Return the draws, replaced by the identity in some rows.

    where: (n,) bool
    """
    nothing = torch.tensor([recipe.crop, recipe.crop, 0, OUTSIDE, OUTSIDE])  # a crop from the middle, no flip, no cut
    return torch.where(where[:, None], nothing, draws)


def augment(images: Tensor, rows: Tensor, draws: Tensor, recipe: Recipe) -> Tensor:
    """Return `images[rows]`, each cropped, flipped and cut out as in its own row of `draws`.

    images: (n, channels, height, width) of any dtype, fastest in channels-last layout
    rows: (b,) int64
    draws: (b, 5) from `draw`

    The crop is taken from the image padded by reflection; cutout zeroes a square around its centre, smaller at the
    border (DeVries & Taylor 2017). Returns (b, channels, height, width), same dtype.
    """
    _, channels, height, width = images.shape
    if not images.is_contiguous(memory_format=torch.channels_last):
        images, rows = images[rows], torch.arange(len(rows), device=rows.device)
    down, right = torch.arange(height, device=rows.device), torch.arange(width, device=rows.device)
    row = reflect(down + draws[:, TOP, None] - recipe.crop, height)
    across = right + draws[:, MIRRORED, None] * (width - 1 - 2 * right)
    column = reflect(across + draws[:, LEFT, None] - recipe.crop, width)
    pixel = ((rows[:, None] * height + row) * width)[:, :, None] + column[:, None, :]
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, pixel.view(-1))
    out = pixels.view(len(rows), height, width, channels).permute(0, 3, 1, 2)
    if recipe.cutout:
        cut = _span(down, draws[:, CUT_ROW], recipe.cutout)[:, :, None]
        cut = cut & _span(right, draws[:, CUT_COLUMN], recipe.cutout)[:, None, :]
        out = out.masked_fill(cut[:, None], 0)
    return out


def static(images: Tensor, recipe: Recipe, generator: torch.Generator, fixed: Tensor | None = None) -> Tensor:
    """Return `recipe.copies` augmented copies that replace the originals: (copies * n, channels, height, width).

    fixed: (n,) bool, images that are copied unchanged

    All first copies come before all second ones: repeat the labels like `y.repeat(copies)`.
    """
    n, rows = len(images), torch.arange(len(images), device=images.device)
    parts = []
    for _ in range(recipe.copies):
        draws = draw(n, images.shape[1:], recipe, generator)
        draws = (draws if fixed is None else neutral(draws, fixed, recipe)).to(images.device)
        chunks = [slice(i, i + CHUNK) for i in range(0, n, CHUNK)]  # not all at once: the index takes 8 bytes per pixel
        parts += [augment(images, rows[chunk], draws[chunk], recipe) for chunk in chunks]
    return torch.cat(parts)


def _span(positions: Tensor, centre: Tensor, size: int) -> Tensor:
    """Return (b, positions) bool: the positions within the `size` around each centre."""
    start = (centre - size // 2)[:, None]
    return (positions >= start) & (positions < start + size)
