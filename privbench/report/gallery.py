"""Reconstructed images beside real ones, drawn: a column per class, a row per defense.

As Triastcyn & Faltings, Figure 2. It takes no more than records and the raw arrays beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from privbench.errors import UsageError
from privbench.report.sheet import MARGIN, PAPER
from privbench.stats.likeness import unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from PIL.Image import Image

    from privbench.records.record import Record
    from privbench.stats.likeness import Likeness

    Array = npt.NDArray[Any]

SIDE = 64
"""Pixels that an image takes at least, enlarged by a whole factor."""
TEXT = 13
"""Size of the text in pixels."""
LINE = TEXT + 4
GAP = 4
INK, FAINT = 0, 110


class Row(NamedTuple):
    """One row of the gallery."""

    title: str
    remark: str
    images: Array
    """float32 (classes, height, width, channels) in [0, 1]."""


def rows(records: Sequence[Record], arrays: Sequence[Mapping[str, Array]], target: int = 0) -> list[Row]:
    """Return real images, then what each attack made of one target: undefended first, untrained nets last.

    arrays: what lies beside each record. Raises UsageError where the records are of different settings, or where the
    target was not attacked.
    """
    from privbench.records.comparable import SHOWN, setting, setting_text, title

    settings = {setting(record): record for record in records}
    if len(settings) > 1:
        texts = [
            f"{title(record)} (data {record.data.fingerprint[:SHOWN]}, {setting_text([record])})"
            for record in settings.values()
        ]
        raise UsageError(f"These records are of several settings: {'; '.join(texts)}. Name those of one.")
    if not 0 <= target < records[0].targets:
        raise UsageError(f"--target {target}: the records have targets 0 to {records[0].targets - 1}.")
    order = sorted(range(len(records)), key=lambda i: (records[i].defense.spec != "ce", records[i].defense.spec))
    first = order[0]
    several = len({record.attack.spec for record in records}) > 1
    found = [Row("members", "one of each class", unit(arrays[first]["real"][target]))]
    for i in order:
        record, images = records[i], arrays[i]["images"][target]
        name = f"{record.defense.spec}, {record.attack.spec}" if several else record.defense.spec
        assert record.reconstruction is not None, "records without images are left out before"
        found.append(Row(name, _remark(record.reconstruction.attack), images))
        if i == first:
            nearest = unit(arrays[i]["nearest"][target])
            found.append(Row("nearest member", f"to the image of {name}", nearest))
    if "untrained" in arrays[first]:
        judged = records[first].reconstruction
        remark = _remark(judged.untrained) if judged and judged.untrained else ""
        found.append(Row("untrained net", remark, arrays[first]["untrained"][0]))
    return found


def draw(found: Sequence[Row], classes: Sequence[int], heading: str) -> Image:
    """Return the picture. classes: which of them, a column each."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT)
    height, width = found[0].images.shape[1:3]
    factor = max(1, -(-SIDE // max(height, width)))
    tall, wide = height * factor + GAP, width * factor + GAP
    tall = max(tall, 2 * LINE + GAP)
    label = max(round(font.getlength(text)) for row in found for text in (row.title, row.remark)) + MARGIN
    top = MARGIN + 2 * LINE
    breadth = max(label + wide * len(classes), round(font.getlength(heading))) + 2 * MARGIN
    page = Image.new("RGB", (breadth, top + tall * len(found) + MARGIN), (PAPER,) * 3)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN), heading, fill=(INK,) * 3, font=font)
    for column, each in enumerate(classes):
        pen.text((MARGIN + label + column * wide, MARGIN + LINE), str(each), fill=(FAINT,) * 3, font=font)
    for at, row in enumerate(found):
        y = top + at * tall
        pen.text((MARGIN, y), row.title, fill=(INK,) * 3, font=font)
        pen.text((MARGIN, y + LINE), row.remark, fill=(FAINT,) * 3, font=font)
        for column, each in enumerate(classes):
            page.paste(Image.fromarray(_enlarged(row.images[each], factor)), (MARGIN + label + column * wide, y))
    return page


def load(records: Sequence[Record], paths: Sequence[Path]) -> list[dict[str, Array]]:
    """Return the raw arrays beside records. Raises UsageError where a file is missing or is not the record's."""
    from privbench.records.files import images_sha256

    found = []
    for record, path in zip(records, paths, strict=True):
        file = path.with_suffix(".scores.npz")
        try:
            with np.load(file) as raw:
                arrays = {name: raw[name] for name in ("images", "real", "nearest", "untrained") if name in raw}
        except (OSError, ValueError) as error:
            raise UsageError(f"The images of {path} are missing: cannot read {file} ({error}).") from None
        if images_sha256(arrays["images"]) != record.scores_sha256:
            raise UsageError(f"{file} does not hold the images of {path}: their SHA-256 is another.")
        found.append(arrays)
    return found


def _remark(found: Likeness) -> str:
    recognised, ratio = found.accuracy.value, found.distance_ratio.value
    shown = "n/a" if recognised is None else f"{100 * recognised:.0f} %"
    return f"recognised {shown}, ratio {'n/a' if ratio is None else f'{ratio:.3f}'}"


def _enlarged(image: Array, factor: int) -> Array:
    """Return (height, width, channels) in [0, 1] as RGB, each pixel a square of `factor`."""
    levels = np.rint(image * 255).clip(0, 255).astype(np.uint8)
    large: Array = levels.repeat(3 // levels.shape[-1], axis=-1).repeat(factor, axis=0).repeat(factor, axis=1)
    return large
