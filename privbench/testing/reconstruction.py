"""Contract checks of reconstruction attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.testing.attacks import CLASSES, STRONG, Tried
from privbench.testing.base import Array, Check, require
from privbench.testing.planted import SIDE
from privbench.testing.unseen import unseen_checks

if TYPE_CHECKING:
    from privbench.testing.planted import Planted


def reconstruction_checks(attack: Any, salt: str, device: str) -> list[Check]:
    """Return the checks of a reconstruction attack; salt, device: of the population in which it must find nothing."""
    return [*_Reconstructs(attack, device).checks(), *unseen_checks(attack, salt, device)]


class _Reconstructs(Tried):
    method = "reconstruct"

    def checks(self) -> list[Check]:
        return [
            Check(
                "declared-needs", "It gets by with what its `needs` declare, and reaches around nothing.", self.declared
            ),
            Check("images", "One image per class: float32, finite, in [0, 1].", self.images),
            Check(
                "deterministic",
                "The same evidence gives the same result, bit for bit; no global generator is used.",
                self.deterministic,
            ),
            Check("evidence-unmutated", "The evidence is left as it was.", self.unmutated),
        ]

    def call(self, evidence: Any) -> Array:
        return np.asarray(self.attempt(evidence, np.arange(CLASSES)))

    def result(self, planted: Planted) -> Array:
        """Return the images. Raises AssertionError where they are none."""
        images, expected = self.call(planted.evidence()), (CLASSES, SIDE, SIDE, 1)
        require(
            images.shape == expected,
            f"The images of {CLASSES} classes have shape {images.shape}; expected {expected}.",
        )
        require(images.dtype == np.float32, f"The images are {images.dtype}; expected float32.")
        bad = int((~np.isfinite(images)).sum())
        require(bad == 0, f"{bad} of {images.size} pixels are NaN or infinite.")
        low, high = images.min(), images.max()
        require(low >= 0 and high <= 1, f"The pixels run from {low:.3g} to {high:.3g}; expected 0 to 1.")
        return images

    def images(self) -> None:
        self.result(self.planted(STRONG))
