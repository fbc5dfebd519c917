"""Face detection with OpenCV's bundled cascade, if OpenCV is installed (`pip install privbench[faces]`)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[Any]

SIDE = 128
"""Shorter side in pixels of the searched images: the cascade was trained on windows of 24."""
MARGIN = SIDE // 4
"""Pixels of repeated edge around them: the cascade needs some margin around a face, which a tight crop lacks."""
SMALLEST = SIDE // 2
"""Least size in pixels of a face: a face fills its image, and small detections are often false."""
SCALE, NEIGHBOURS = 1.1, 3  # OpenCV's defaults
LUMA = np.array([0.299, 0.587, 0.114])
COLOURS = 3


def face_detector() -> Callable[[Array], Array] | None:
    """Return a function that detects faces in images (n, height, width, channels) float32 in [0, 1], (n,) bool.

    It is the Haar cascade of Viola & Jones, frontal faces, as bundled with OpenCV up to version 4. None without OpenCV,
    or with a version without it.
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
