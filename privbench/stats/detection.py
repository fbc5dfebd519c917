"""Whether an image shows a face: OpenCV's bundled cascade, where OpenCV is there (`pip install privbench[faces]`)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array

SIDE = 128
"""Pixels of the shorter side of the images that are searched: the cascade was trained on windows of 24."""
MARGIN = SIDE // 4
"""Pixels of the edge that are repeated around them: the cascade wants some room about a face, a tight crop has none."""
SMALLEST = SIDE // 2
"""Pixels of the smallest face that counts: an image of a face is filled by it, and small finds are often by chance."""
SCALE, NEIGHBOURS = 1.1, 3  # OpenCV's defaults
LUMA = np.array([0.299, 0.587, 0.114])
COLOURS = 3


def face_detector() -> Callable[[Array], Array] | None:
    """Return what says of images (n, height, width, channels) float32 in [0, 1] whether they show faces: (n,) bool.

    It is the Haar cascade of Viola & Jones, frontal faces, as OpenCV up to version 4 bundles it. None where there is
    no OpenCV, or one without it.
    """
    cascade = _cascade()
    if cascade is None:
        return None
    return lambda images: np.array([_shows_face(cascade, image) for image in images], dtype=bool)


def _cascade() -> Any:
    with contextlib.suppress(ImportError, AttributeError):
        import cv2

        file = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
        cascade = cv2.CascadeClassifier(str(file)) if file.is_file() else None
        return cascade if cascade is not None and not cascade.empty() else None
    return None


def _shows_face(cascade: Any, image: Array) -> bool:
    import cv2

    grey = image @ LUMA if image.shape[-1] == COLOURS else image[..., 0]
    pixels = np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    height, width = pixels.shape
    scale = SIDE / min(height, width)
    large = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
    padded = cv2.copyMakeBorder(large, *(4 * [MARGIN]), cv2.BORDER_REPLICATE)
    found = cascade.detectMultiScale(padded, scaleFactor=SCALE, minNeighbors=NEIGHBOURS, minSize=(SMALLEST, SMALLEST))
    return len(found) > 0
