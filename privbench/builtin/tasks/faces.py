"""Faces, with people as classes: the data for model inversion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from privbench.api import component, option
from privbench.builtin.tasks.npz import Npz
from privbench.data import Part, Source, folder, home, is_folder, numbered, same_kind
from privbench.errors import DataError

if TYPE_CHECKING:
    from privbench.aliases import Array

IMAGE_DIMENSIONS = 4


@component
class Faces(Npz):
    """Your own faces, one class per person: faces:path=FILE.npz, or faces:path=FOLDER with a subfolder per person.

    A file has the format of `npz`; a folder holds PERSON/image.png, or train/PERSON and test/PERSON. The model is the
    MLP of 1000 and 300 hidden units that Triastcyn & Faltings invert. A face detector, if installed, evaluates
    reconstructions.
    """

    name: ClassVar[str] = "faces"
    depicts: ClassVar[str] = "faces"

    path: str = option(..., "the file, the folder, or the name of an imported data set", keyed=False)
    size: int | None = option(None, "side in pixels of resized squares (none: no resizing)", ge=8)
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = option(
        (1000, 300), "sizes of the hidden layers of 'mlp' and 'dae_mlp'", min_length=1
    )
    batch_size: int = option(32, "examples per step", ge=1)

    def source(self) -> Source:
        """Read and check the images. Raises DataError with the problem and the remedy."""
        path = home(Path(self.path))
        if is_folder(path):
            return self._from_folder(path)
        source = super().source()
        train, test = self._checked(source.train, source.name), source.test and self._checked(source.test, source.name)
        return Source(train, test, source.classes, source.name)

    def _checked(self, part: Part, name: str) -> Part:
        x = np.asarray(part.x)
        if x.ndim != IMAGE_DIMENSIONS:
            raise DataError(f"faces: {name} is a table; give images, (n, height, width) or with 1 or 3 channels.")
        return Part(x if self.size is None else _squares(x, self.size), part.y)

    def _from_folder(self, path: Path) -> Source:
        found, _ = folder(path, self.size, "size=64")
        arrays, classes = numbered(found, path)
        same_kind([x for x, _ in arrays.values()], path.name)
        parts = {role: Part(x, y) for role, (x, y) in arrays.items()}
        return Source(parts["train"], parts.get("test"), classes, path.resolve().name)


def _squares(x: Array, size: int) -> Array:
    """Return images (n, height, width, channels) resized to (n, size, size, channels), in their dtype."""
    from PIL import Image

    def square(channel: Array) -> Array:
        return np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR))

    return np.stack([np.stack([square(each) for each in np.moveaxis(image, -1, 0)], axis=-1) for image in x])
