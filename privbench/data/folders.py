"""Reader of image folders with one subfolder per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from privbench.data.arrays import inputs
from privbench.data.depth import header, scaled
from privbench.data.images import ImageFiles
from privbench.errors import DataError
from privbench.store.reading import files_below, folders_in, inside

if TYPE_CHECKING:
    from pathlib import Path

    from privbench.aliases import Array

    Parts: TypeAlias = dict[str, tuple[Array, Array]]  # "train" and optionally "test" -> inputs, labels of any kind

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def numbered(parts: Parts, path: Path) -> tuple[Parts, int]:
    """Assign the numbers 0 to classes - 1 to the classes, in the order of their sorted labels in the training part."""
    found: Parts = {}
    for role, (_, y) in parts.items():
        if y.ndim != 1 or y.dtype.kind not in "buifU":
            raise DataError(f"{path.name}: {role} labels are {y.dtype} of shape {y.shape}; expected one per example.")
    known = np.unique(parts["train"][1])
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        raise DataError(f"{path.name}: some labels are NaN or infinite; leave those examples out.")
    for role, (x, y) in parts.items():
        strange = np.setdiff1d(y, known)
        if len(strange):
            raise DataError(
                f"{path.name}: the test part has class {strange[0]}, of which there is no training example."
            )
        found[role] = x, np.searchsorted(known, y).astype(np.int64)
    return found, max(len(known), 2)


def folder(path: Path, size: int | None, how: str = "--size 32") -> tuple[Parts, list[str]]:
    """Return the images of PATH/CLASS, or of PATH/train/CLASS and PATH/test/CLASS, the names of the classes, and notes.

    size: side of the square for resizing
    how: how `size` is given, for the error message that asks for it

    Images are grey if all files are. Notes describe changes of pixels. Raises DataError if there are no images, a file
    is not an image, sizes differ, or pixels do not fit in 8 bits.
    """
    split = (path / "train").is_dir()
    homes = {role: path / role if split else path for role in (("train", "test") if split else ("train",))}
    found = {role: pairs for role, home in homes.items() if home.is_dir() and (pairs := _images(path, home))}
    files = [file for pairs in found.values() for file, _ in pairs]
    if "train" not in found:
        raise DataError(
            f"{path} holds no images in subfolders; expected CLASS/image.png, or train/CLASS and test/CLASS."
        )
    headers = {file: header(file, path.name) for file in files}
    grey = all(each.is_grey for each in headers.values())  # then one channel suffices
    parts: Parts = {}
    notes = []
    for role, pairs in found.items():
        reader = ImageFiles([file for file, _ in pairs], path.name, size=size, grey=grey)
        try:
            x = reader[np.arange(len(pairs))]
        except DataError as error:
            hint = f"; give {how}, for example" if size is None and "resize" in str(error) else ""
            raise DataError(str(error).rstrip(".") + hint + ".") from None
        notes += scaled(
            x, [headers[file] for file, _ in pairs], path.name if len(found) == 1 else f"{path.name}/{role}"
        )
        parts[role] = inputs(x, path.name), np.array([label for _, label in pairs], dtype=np.str_)
    return parts, notes


def _images(root: Path, home: Path) -> list[tuple[Path, str]]:
    """Return the image files below each subfolder, with the name of the subfolder, sorted."""
    return [
        (file, folder.name)
        for folder in folders_in(inside(root, home), root)
        for file in (files_below(folder, root) if not folder.name.startswith(".") else ())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
