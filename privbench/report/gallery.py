"""Pages of images: synthetic images of defenses, and reconstructions of attacks next to real images.

Reconstructions are drawn from records and their raw arrays alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.contracts.release import GRID
from privbench.data.archives import archive
from privbench.errors import DataError, UsageError
from privbench.stats.likeness import unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from PIL.Image import Image

    from privbench.aliases import Array
    from privbench.records.record import Record
    from privbench.stats.likeness import Likeness

SIDE, LARGE = 40, 64
"""Minimum side of an image in pixels, reached by enlargement by a whole factor: of many images, and of few."""
TEXT = 13
"""Size of the text in pixels."""
MARGIN, GAP, CAPTION = 12, 2, 18
PAPER, INK = 255, 0
IMAGES = ("images", "real", "nearest", "untrained")
"""Arrays of images beside a record."""


def rows(
    records: Sequence[Record], arrays: Sequence[Mapping[str, Array]], classes: Sequence[int], target: int = 0
) -> list[tuple[str, Array]]:
    """Return titled rows for `draw`: real images, then the reconstructions of each attack on one target.

    Undefended models come first, untrained models last.

    arrays: raw arrays of each record.
    classes: classes to show, one per column.

    Raises UsageError if the records have different settings, or if the target was not attacked.
    """
    from privbench.records.comparable import SHOWN, setting, setting_text, title

    settings = {setting(record): record for record in records}
    if len(settings) > 1:
        texts = [
            f"{title(record)} (data {record.data.fingerprint[:SHOWN]}, {setting_text([record])})"
            for record in settings.values()
        ]
        raise UsageError(f"The records have several settings: {'; '.join(texts)}. Name records of one setting.")
    if not 0 <= target < records[0].targets:
        raise UsageError(f"--target {target}: the records have targets 0 to {records[0].targets - 1}.")
    order = sorted(range(len(records)), key=lambda i: (records[i].defense.spec != "ce", records[i].defense.spec))
    first = order[0]
    several = len({record.attack.spec for record in records}) > 1
    titled = [("members, one of each class", arrays[first]["real"][target])]
    for i in order:
        record, images = records[i], arrays[i]["images"][target]
        name = f"{record.defense.spec}, {record.attack.spec}" if several else record.defense.spec
        assert record.reconstruction is not None, "records without images are left out before"
        titled.append((f"{name}: {_remark(record.reconstruction.attack)}", images))
        if i == first:
            titled.append((f"members nearest to the images of {name}", arrays[i]["nearest"][target]))
    if "untrained" in arrays[first]:
        judged = records[first].reconstruction
        remark = f": {_remark(judged.untrained)}" if judged and judged.untrained else ""
        titled.append((f"untrained net{remark}", arrays[first]["untrained"][0]))
    chosen = list(classes)
    return [(text, np.rint(unit(images[chosen]) * 255).astype(np.uint8)[None]) for text, images in titled]


def grids(notes: Mapping[str, Array]) -> dict[str, Array]:
    """Return the images among the notes of a release, by title; images "before" precede images "after"."""
    images = {name.removeprefix(GRID): array for name, array in notes.items() if name.startswith(GRID)}
    return dict(sorted(images.items(), key=lambda item: item[0].replace(" before", " 0").replace(" after", " 1")))


def draw(blocks: Iterable[tuple[str, Array]], *, across: int = 3, side: int = SIDE, heading: str = "") -> Image:
    """Return one image of titled blocks, `across` of them side by side; each block is an array as in `GRID`."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT)
    tiles = [(*divmod(number, across), title, _tile(array, side)) for number, (title, array) in enumerate(blocks)]
    widths, heights = [0] * min(across, len(tiles)), [0] * (1 + tiles[-1][0])
    for row, column, title, tile in tiles:
        widths[column] = max(widths[column], tile.shape[1], round(font.getlength(title)))
        heights[row] = max(heights[row], tile.shape[0])
    above = MARGIN + (CAPTION if heading else 0)
    breadth = max(sum(widths) + MARGIN * (len(widths) - 1), round(font.getlength(heading)))
    depth = sum(heights) + (MARGIN + CAPTION) * len(heights)
    page = Image.new("RGB", (breadth + 2 * MARGIN, above + depth), (PAPER,) * 3)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN), heading, fill=(INK,) * 3, font=font)
    for row, column, title, tile in tiles:
        left = MARGIN + sum(widths[:column]) + MARGIN * column
        top = above + sum(heights[:row]) + (MARGIN + CAPTION) * row
        pen.text((left, top), title, fill=(INK,) * 3, font=font)
        page.paste(Image.fromarray(tile), (left, top + CAPTION))
    return page


def load(records: Sequence[Record], paths: Sequence[Path]) -> list[dict[str, Array]]:
    """Return the raw arrays of records. Raises UsageError if a file is missing or belongs to another record."""
    from privbench.records.files import images_sha256

    loaded = []
    for record, path in zip(records, paths, strict=True):
        file = path.with_suffix(".scores.npz")
        try:
            with archive(file, str(file), "several") as raw:
                arrays = {name: raw[name] for name in raw.files if name in IMAGES}
                same = images_sha256(arrays["images"]) == record.scores_sha256 and _fits(arrays)
        except DataError as error:
            raise UsageError(f"The images of {path} are missing: {error}") from None
        if not same:
            raise UsageError(f"{file} does not hold the images of {path}: their SHA-256 differs.")
        loaded.append(arrays)
    return loaded


def _fits(arrays: Mapping[str, Array]) -> bool:
    images = arrays["images"]
    of_targets = images.shape[:1] == arrays["real"].shape[:1] == arrays["nearest"].shape[:1]
    alike = all(each.shape[1:] == images.shape[1:] and each.dtype.kind in "uif" for each in arrays.values())
    return of_targets and alike and len(images) > 0


def _remark(likeness: Likeness) -> str:
    recognised, ratio = likeness.accuracy.value, likeness.distance_ratio.value
    shown = "n/a" if recognised is None else f"{100 * recognised:.0f} %"
    return f"recognised {shown}, ratio {'n/a' if ratio is None else f'{ratio:.3f}'}"


def _tile(array: Array, side: int) -> Array:
    """Return images (classes, columns, h, w, c) as one RGB image, with gaps; small images are enlarged."""
    factor = max(1, -(-side // max(array.shape[2:4])))
    colour = np.repeat(array, 3 // array.shape[-1], axis=-1)
    large = colour.repeat(factor, axis=2).repeat(factor, axis=3)
    padded = np.pad(large, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=PAPER)
    return np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)
