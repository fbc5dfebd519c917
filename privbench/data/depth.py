"""Bit depth of image files: all formats of Pillow as 8-bit grey or RGB, scaled by depth and never clipped.

Pillow's own conversion clips: in 16-bit files everything but the darkest 1/256 of the range becomes white, and floats
in [0, 1] all become black.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.errors import DataError
from privbench.store.reading import guarded, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from privbench.aliases import Array

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read. Pillow knows others, some of which start programs or read further files."""
GREY = {"1", "L", "LA", "La", "F"}
SIXTEEN_BIT = {"PNG", "PPM"}
"""Formats for which Pillow's mode I means 16 bits, with the full range 0 to 65535."""
SINGLE = {"GIF", "PNG", "TIFF", "WEBP"}
"""Formats whose further frames are separate pictures rather than thumbnails."""
BITS_PER_SAMPLE = 258
SILENT = logging.NullHandler()
"""Keeps Pillow's log of a damaged file from being printed beside our line."""
BYTE = 255
LEVELS = 64
"""Level, of 256, that the brightest pixel of 16-bit files must exceed: the maximum of 14 bits saved as 16."""


class Header(NamedTuple):
    """The properties of pixels in the header of an image file."""

    is_grey: bool
    is_deep: bool
    """Whether a channel has more than 8 bits."""


def header(path: Path, name: str) -> Header:
    """Read the header of an image file. Raises DataError if it is not an image."""
    with picture(path, f"{name}: {path}", "repair it, or remove it") as image:
        return Header(image.mode in GREY or image.mode.startswith("I"), _is_deep(image))


@contextlib.contextmanager
def picture(path: Path, where: str, right: str) -> Iterator[ImageFile]:
    """Lend an image file to be decoded. Raises DataError for anything that is none, or has too many pixels.

    where: the file in messages; right: what would be right.
    """
    from PIL import Image

    logging.getLogger("PIL").addHandler(SILENT)
    with (
        guarded(f"{where} is no readable image", right),
        opened(path, where) as file,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as image:
            yield image


def eight_bit(image: Image, where: str, *, grey: bool) -> Image:
    """Return an image as L or RGB with 8 bits per channel. Raises DataError if they are not enough.

    where: the data set and the file, for messages

    Integers are scaled by the bit depth of the file, floats from [0, 1]; the EXIF orientation is applied. Refused:
    other floats, 32-bit integers, transparency, several frames.
    """
    from PIL import ImageOps

    if image.format in SINGLE and (frames := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"{where} holds {frames} frames; save each as a file of its own.")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != BYTE:
        raise DataError(f"{where} has transparent pixels (mode {image.mode}); flatten it onto a background.")
    if image.mode == "F":
        image = _from_floats(image, where)
    elif image.mode.startswith("I"):
        image = _from_integers(image, where)
    try:
        return ImageOps.exif_transpose(image.convert("L" if grey else "RGB"))
    except ValueError:
        raise DataError(f"{where} has mode {image.mode}, which cannot be converted; save it as RGB.") from None


def scaled(x: Array, headers: Sequence[Header], name: str) -> list[str]:
    """Return a note if some of (n, h, w, c) images had more than 8 bits. Raises DataError if too few levels remain.

    headers: of the files, in the order of the images
    """
    deep = np.array([each.is_deep for each in headers], dtype=bool)
    if not deep.any():
        return []
    brightest = int(x[deep].max())
    if brightest <= LEVELS:
        raise DataError(
            f"{name}: the brightest pixel of {int(deep.sum())} images of more than 8 bits has {brightest / BYTE:.1%} "
            f"of the full range, as where fewer bits are saved as 16; scale them to the full range, or save 8 bits."
        )
    return [f"{name}: {int(deep.sum())} of {len(deep)} images have more than 8 bits a channel; they were scaled to 8."]


def _is_deep(image: ImageFile) -> bool:
    mode = image.tile[0][3] if image.tile else ""
    raw = mode[0] if isinstance(mode, tuple) and mode else mode
    return image.mode == "F" or image.mode.startswith("I") or ";16" in str(raw)


def _from_floats(image: Image, where: str) -> Image:
    from PIL import Image as Images

    pixels = np.asarray(image)
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):
        raise DataError(f"{where} holds floats from {low:g} to {high:g} (mode F); scale them to [0, 1].")
    return Images.fromarray(np.rint(pixels * np.float32(BYTE)).astype(np.uint8))


def _from_integers(image: Image, where: str) -> Image:
    from PIL import Image as Images
    from PIL.TiffImagePlugin import TiffImageFile

    if image.mode == "I" and image.format not in SIXTEEN_BIT:
        raise DataError(f"{where} holds 32-bit or signed integers (mode I) of no known range; save 8 or 16 bits.")
    bits = image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0] if isinstance(image, TiffImageFile) else 16
    return Images.fromarray(np.rint(np.asarray(image) * (BYTE / (2**bits - 1))).astype(np.uint8))
