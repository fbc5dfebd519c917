"""User images: folders of them, and a page of the closest pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.errors import DataError
from privbench.store.reading import files_below

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from privbench.aliases import Array

PAIRS, ACROSS = 32, 8
"""Number of pairs on a page, and in one of its rows."""
BYTE = 255


def folder(path: Path, name: str) -> tuple[Array, list[str]]:
    """Return the images below a folder, (n, height, width, 1 or 3) uint8, in sorted order, and notes on their pixels.

    Raises DataError.
    """
    from privbench.data.depth import header, scaled
    from privbench.data.folders import SUFFIXES
    from privbench.data.images import ImageFiles

    found = [each for each in files_below(path, path) if each.suffix.lower() in SUFFIXES and each.name[0] != "."]
    if not found:
        raise DataError(f"{name}: {path} holds no images; give a folder of them, or a .npz file with an array x.")
    headers = [header(each, name) for each in found]
    x = ImageFiles(found, name)[np.arange(len(found))]
    grey = (x == x[..., :1]).all()
    return x[..., :1] if grey else x, scaled(x, headers, name)


def pairs(sides: dict[str, tuple[Array, Array, Array]]) -> Image:
    """Return a page of the nearest pairs, with the real image above the synthetic one, and a column for each side.

    sides: title -> real images (n, h, w, c), the nearest synthetic image of each, and distances (n,), nearest first.
    """
    from privbench.report import gallery

    blocks: dict[str, Array] = {}
    count = min(PAIRS, *(len(distances) for *_, distances in sides.values()))
    for start in range(0, count, ACROSS):
        rows = slice(start, min(start + ACROSS, count))
        for title, (real, synthetic, distances) in sides.items():
            text = f"{title} {rows.start + 1}-{rows.stop}: {distances[rows][0]:.3g} to {distances[rows][-1]:.3g}"
            blocks[text] = np.stack([_bytes(real[rows]), _bytes(synthetic[rows])])
    return gallery.draw(blocks.items(), across=len(sides))


def _bytes(images: Array) -> Array:
    return images if images.dtype == np.uint8 else np.rint(images * BYTE).astype(np.uint8)
