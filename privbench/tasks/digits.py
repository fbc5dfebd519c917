"""scikit-learn's handwritten digits: the default task, for it needs no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from privbench.api import component, option
from privbench.tasks.base import DataTask, Part, Source
from privbench.tasks.presets import DAE


@component
class Digits(DataTask):
    """scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels, 10 classes, no download."""

    name: ClassVar[str] = "digits"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dae": DAE}

    epochs: int = option(40, "passes over the training examples", ge=1)
    batch_size: int = option(32, "examples per step", ge=1)

    def source(self) -> Source:
        """Read the images that come with scikit-learn; their 17 grey levels are spread over 0 to 255."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        return Source(Part(x, digits.target.astype(np.int64)), None, 10, self.name)
