"""scikit-learn's handwritten digits: the default task, because it needs no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from privbench.api import component, option
from privbench.builtin.tasks.base import DataTask
from privbench.builtin.tasks.presets import DAE
from privbench.data import Part, Source


@component
class Digits(DataTask):
    """scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels, 10 classes, no download."""

    name: ClassVar[str] = "digits"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dae": DAE}

    epochs: int = option(40, "passes over the training examples", ge=1)
    batch_size: int = option(32, "examples per step", ge=1)

    def source(self) -> Source:
        """Read the images of scikit-learn; their 17 grey levels are spread over 0 to 255."""
        table = _table()
        x = np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
        return Source(Part(x, table[:, -1].astype(np.int64)), None, 10, self.name)


def _table() -> npt.NDArray[Any]:
    """Return a row per image: its 64 pixels from 0 to 16, and its label.

    The file is read without importing scikit-learn, which takes longer than everything else before training.
    """
    found = importlib.util.find_spec("sklearn")
    file = Path(found.origin if found and found.origin else "").parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # for versions of scikit-learn with another location

    x, y = load_digits(return_X_y=True)
    return np.column_stack([x, y])
