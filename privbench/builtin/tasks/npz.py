"""User data: a .npz file of images or of a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from privbench.api import component, option
from privbench.builtin.tasks.base import DataTask
from privbench.data import IMPORTED, data_root, home, imported, is_file, is_folder, read, to_import
from privbench.data.imported import SUFFIXES as TABLES
from privbench.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from privbench.data import Source

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@component
class Npz(DataTask):
    """Your own arrays, images or a table, from a .npz file: npz:path=FILE.

    Keys: x_train, y_train and, if there is a test set, x_test, y_test; or x, y. Images are (n, height, width) or
    (n, height, width, channels), uint8 or floats in [0, 1]; tables are (n, features); labels are integers from 0.
    """

    name: ClassVar[str] = "npz"

    path: str = option(..., "the file, or the name of an imported data set", keyed=False)
    epochs: int = option(40, "passes over the training examples", ge=1)
    lr: float = option(0.02, "peak learning rate", gt=0)

    def source(self) -> Source:
        """Read and check the arrays. Raises DataError with the problem and the remedy."""
        return read(self.file())

    def file(self) -> Path:
        """Return the file denoted by `path`. Raises DataError if there is none."""
        folder = data_root() / IMPORTED
        path = home(Path(self.path))
        if NAME.fullmatch(self.path) and not is_file(path):
            found = folder / f"{self.path}.npz"
            if found.is_file():
                return found
            known = imported()
            listing = f"Imported: {', '.join(known)}." if known else "Import one with: privbench data import PATH"
            raise DataError(
                f"{self.name}: no data set {self.path!r} in {folder}.{did_you_mean(self.path, known)} {listing}"
            )
        if is_folder(path) or (is_file(path) and path.suffix.lower() in TABLES):
            raise DataError(f"{self.name}: {path} is no .npz file.{to_import(path)}")
        if not is_file(path):
            raise DataError(
                f"{self.name}: no file {path}; give the path of a .npz file, or the name of an imported data set."
            )
        return path
