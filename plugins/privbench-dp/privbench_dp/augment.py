"""Random crop, flip and cutout of the recipe, with separate draws for every copy of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from privbench.errors import BadOption
from privbench.learn import take

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Recipe

IMAGE_DIMENSIONS = 3


class Augmentation:
    """Alters images as a recipe says; an `Alter` of `privbench_dp.samples`.

    shape: (channels, height, width); allowed: (n,) bool, which images may be altered (None: all), where the
    images are. Raises BadOption for tables.
    """

    def __init__(self, recipe: Recipe, shape: tuple[int, ...], allowed: Tensor | None) -> None:
        if len(shape) != IMAGE_DIMENSIONS:
            raise BadOption("crop, flip and cutout are for images, but this task has tables; set all three to 0.")
        if recipe.crop >= min(shape[1:]):
            raise BadOption(
                f"crop={recipe.crop}: images of {shape[1]}x{shape[2]} pixels are too small to be shifted so far."
            )
        self.recipe, self.shape, self.allowed = recipe, shape, allowed

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the draws of n images."""
        return draw(n, self.shape, self.recipe, generator)

    def __call__(self, images: Tensor, rows: Tensor, drawn: Tensor) -> Tensor:
        """Return `images[rows]`, altered by their rows of `drawn`."""
        chosen = take(images, rows)
        altered = augment(chosen, self.recipe, drawn)
        if self.allowed is None:
            return altered
        return torch.where(self.allowed.index_select(0, rows)[:, None, None, None], altered, chosen)


def augmenting(recipe: Recipe, shape: tuple[int, ...], allowed: Tensor | None) -> Augmentation | None:
    """Return what alters images as the recipe says, or None where it leaves them as they are."""
    return Augmentation(recipe, shape, allowed) if recipe.crop or recipe.flip or recipe.cutout else None


def draw(n: int, shape: tuple[int, ...], recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return (n, 5) int64: each image's shift down and right, whether it is mirrored, and its cutout's centre.

    Draws are made for every operation whether the recipe has it or not.
    """
    shift = torch.randint(2 * recipe.crop + 1, (2, n), generator=generator)
    mirrored = torch.rand(n, generator=generator) < recipe.flip
    centre = [torch.randint(side, (n,), generator=generator) for side in shape[1:]]
    return torch.stack([*shift, mirrored.long(), *centre], dim=1)


def augment(images: Tensor, recipe: Recipe, drawn: Tensor) -> Tensor:
    """Return images (b, channels, height, width) of any dtype, each cropped, flipped and cut out by its row of draws.

    A crop is of the image padded by reflection; cutout zeroes a square around a random centre, smaller at the border.
    """
    b, _, height, width = images.shape
    shift_down, shift_right, mirrored, *centre = drawn.unbind(dim=1)
    down, right = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    column = torch.where(mirrored[:, None] > 0, width - 1 - right, right) + shift_right[:, None]
    row = down + shift_down[:, None]
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
