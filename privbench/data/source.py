"""Data sets on disk, before their examples have roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from privbench.data.dataset import Examples, check_arrays
from privbench.errors import DataError

if TYPE_CHECKING:
    from privbench.aliases import Array


class Rows(Protocol):
    """Inputs that are read on indexing: an array, or the image files of a folder."""

    def __getitem__(self, rows: Array) -> Array:
        """Return the inputs of these rows, uint8 or float32."""
        ...


@dataclass(frozen=True)
class Part:
    """Inputs of a source and their labels, integers of shape (n,)."""

    x: Rows
    y: Array


@dataclass(frozen=True)
class Source:
    """Data set on disk: its training part, its official test part if it has one, and its classes."""

    train: Part
    test: Part | None
    classes: int
    name: str


def check(source: Source) -> None:
    """Raise DataError if lengths or training labels are no valid classification task; opens no image file."""
    for part in filter(None, (source.train, source.test)):
        if isinstance(part.x, np.ndarray) and len(part.x) != len(part.y):
            raise DataError(
                f"{source.name}: {len(part.x)} inputs, but {len(part.y)} labels: each input needs one label."
            )
    y = source.train.y
    check_arrays(Examples(np.zeros((len(y), 1), dtype=np.float32), y), source.classes, source.name)
