"""Image files: decoded on demand, and cached, because decoding takes minutes for large sets."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privbench.data.archives import archive
from privbench.data.depth import eight_bit, picture
from privbench.errors import DataError
from privbench.store.atomic import atomic_write
from privbench.store.reading import memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from privbench.aliases import Array

WORTH_KEEPING = 2000


@dataclass(frozen=True)
class ImageFiles:
    """Image files as rows: `files[rows]` is uint8, (len(rows), height, width, channels)."""

    paths: Sequence[Path]
    name: str
    crop: int | None = None
    """Side of a centre crop, in pixels."""
    size: int | None = None
    """Side to which the (cropped) image is resized."""
    grey: bool = False
    cache: Path | None = None
    """Folder of the cache, with the names, sizes and times of the files as keys."""

    def __getitem__(self, rows: Array) -> Array:
        """Decode these files. Raises DataError for a file that is not an image, or differs in size from the first."""
        paths = [self.paths[row] for row in rows]
        if self.cache is None or len(paths) < WORTH_KEEPING:
            return self._decode(paths)
        kept = self.cache / f"{self.name}-{self._key(paths)}.npz"
        # The archive's own checksum is verified on reading; a damaged archive is recreated.
        with contextlib.suppress(DataError), archive(kept, str(kept), "one by name") as arrays:
            return arrays["x"]
        x = self._decode(paths)
        with contextlib.suppress(OSError):  # a read-only data root only costs time
            kept.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(kept, npz_bytes({"x": x}))
        return x

    def _decode(self, paths: Sequence[Path]) -> Array:
        images: list[Array] = []
        for path in paths:
            image = decode(path, self.name, crop=self.crop, size=self.size, grey=self.grey)
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{self.name}: {path} has {_pixels(image)} pixels, but {paths[0]} has {_pixels(images[0])}; "
                    f"resize them to one size."
                )
            if not images and image.nbytes * len(paths) > memory():
                raise DataError(
                    f"{self.name}: {len(paths)} images of {_pixels(image)} pixels do not fit into memory; resize them."
                )
            images.append(image)
        return np.stack(images)

    def _key(self, paths: Sequence[Path]) -> str:
        digest = hashlib.sha256(repr((self.crop, self.size, self.grey)).encode())
        for path in paths:
            try:
                found = path.stat()
            except OSError:
                raise DataError(f"{self.name}: {path} is missing; unpack the archive again.") from None
            digest.update(f"{path}|{found.st_size}|{found.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:32]


def decode(path: Path, name: str, *, crop: int | None = None, size: int | None = None, grey: bool = False) -> Array:
    """Return one image, uint8 (height, width, 1 or 3), scaled by its bit depth.

    Raises DataError if the file is not a readable image, or does not fit in 8 bits per channel.
    """
    from PIL import Image

    where, right = f"{name}: {path}", "put it there again, or remove it from the data set"
    if not path.exists():
        raise DataError(f"{where} is missing; {right}.")
    with picture(path, where, right) as file:
        image = eight_bit(file, where, grey=grey)
    if crop:
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    if size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., np.newaxis] if grey else pixels


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    """Return an uncompressed .npz: the same bytes for the same arrays, on any day and with any zlib."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _pixels(image: Array) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
