"""The recipe's random crop, flip and cutout, with draws of its own for every copy of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from privbench.errors import BadOption
from privbench.inference import take

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Recipe
    from privbench_dp.sgd import Alter

IMAGE_DIMENSIONS = 3


def augmenting(recipe: Recipe, shape: tuple[int, ...], allowed: Tensor | None) -> Alter | None:
    """Return a function that alters images as the recipe says, or None where it leaves them as they are.

    shape: (channels, height, width); allowed: (n,) bool, which images may be altered (None: all). Raises BadOption for
    tables.
    """
    if not (recipe.crop or recipe.flip or recipe.cutout):
        return None
    if len(shape) != IMAGE_DIMENSIONS:
        raise BadOption("crop, flip and cutout are for images, but this task has tables; set all three to 0.")
    if recipe.crop >= min(shape[1:]):
        raise BadOption(
            f"crop={recipe.crop}: images of {shape[1]}x{shape[2]} pixels are too small to be shifted so far."
        )

    def alter(images: Tensor, rows: Tensor, *, generator: torch.Generator) -> Tensor:
        altered = augment(take(images, rows), recipe, generator)
        if allowed is None:
            return altered
        keep = allowed.to(rows.device)[rows]
        return torch.where(keep[:, None, None, None], altered, take(images, rows))

    return alter


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return images (b, channels, height, width) of any dtype, each cropped, flipped and cut out at random.

    A crop is of the image padded by reflection; cutout zeroes a square around a random centre, smaller at the border.
    Draws are made on the CPU, for every operation whether the recipe has it or not.
    """
    b, _, height, width = images.shape
    shift = torch.randint(2 * recipe.crop + 1, (2, b), generator=generator).to(images.device)
    mirrored = (torch.rand(b, generator=generator) < recipe.flip).to(images.device)
    centre = torch.stack([torch.randint(side, (b,), generator=generator) for side in (height, width)]).to(images.device)
    down, right = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    column = torch.where(mirrored[:, None], width - 1 - right, right) + shift[1, :, None]
    row = down + shift[0, :, None]
    padded = images
    if recipe.crop:
        padded = functional.pad(images.float(), (recipe.crop,) * 4, mode="reflect").to(images.dtype)
    which = torch.arange(b, device=images.device)[:, None, None]
    out = padded.permute(0, 2, 3, 1)[which, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)
    if recipe.cutout:
        cut = _span(down, centre[0], recipe.cutout)[:, :, None] & _span(right, centre[1], recipe.cutout)[:, None, :]
        out = out.masked_fill(cut[:, None], 0)
    return out


def _span(positions: Tensor, centre: Tensor, size: int) -> Tensor:
    start = (centre - size // 2)[:, None]
    return (positions >= start) & (positions < start + size)
