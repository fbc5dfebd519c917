"""What a defense generated, drawn: one block of images per title, a row per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.contracts.release import GRID

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from PIL.Image import Image

    Array = npt.NDArray[Any]

SIDE = 40
"""Pixels that an image takes at least, enlarged by a whole factor."""
MARGIN, GAP, CAPTION = 12, 2, 18
PAPER, INK = 255, 0


def grids(notes: Mapping[str, Array]) -> dict[str, Array]:
    """Return the pictures among a release's notes, by title; what was before stands before what came after."""
    found = {name.removeprefix(GRID): array for name, array in notes.items() if name.startswith(GRID)}
    return dict(sorted(found.items(), key=lambda item: item[0].replace(" before", " 0").replace(" after", " 1")))


def draw(blocks: Mapping[str, Array], *, across: int = 3) -> Image:
    """Return one image of titled blocks, `across` of them side by side. blocks: as in `GRID`, by title."""
    from PIL import Image, ImageDraw

    tiles = [_tile(array) for array in blocks.values()]
    rows = [tiles[at : at + across] for at in range(0, len(tiles), across)]
    widths = [max(row[i].shape[1] for row in rows if i < len(row)) for i in range(len(rows[0]))]
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    size = (sum(widths) + MARGIN * (len(widths) + 1), sum(heights) + (MARGIN + CAPTION) * len(rows) + MARGIN)
    page = Image.new("RGB", size, (PAPER,) * 3)
    pen = ImageDraw.Draw(page)
    for number, (title, tile) in enumerate(zip(blocks, tiles, strict=True)):
        row, column = divmod(number, across)
        left = MARGIN + sum(widths[:column]) + MARGIN * column
        top = MARGIN + sum(heights[:row]) + (MARGIN + CAPTION) * row
        pen.text((left, top), title, fill=(INK,) * 3)
        page.paste(Image.fromarray(tile), (left, top + CAPTION))
    return page


def _tile(array: Array) -> Array:
    """Return (classes, columns, h, w, c) as one RGB image, with gaps, enlarged where the images are small."""
    factor = max(1, -(-SIDE // max(array.shape[2:4])))
    colour = np.repeat(array, 3 // array.shape[-1], axis=-1)
    large = colour.repeat(factor, axis=2).repeat(factor, axis=3)
    padded = np.pad(large, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=PAPER)
    return np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)
