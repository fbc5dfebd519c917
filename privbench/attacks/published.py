"""What attacks on published synthetic examples have in common: they look for members in a space of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import Examples, Needs, option
from privbench.errors import CellFailed
from privbench.features import fit_encoder
from privbench.neighbours import nearest

if TYPE_CHECKING:
    from privbench.evidence import Evidence
    from privbench.features import Encoder

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FeatureOptions:
    """In which space examples are compared."""

    features: Literal["pixels", "pca", "encoder"] = option(
        "pixels",
        "space of distances: pixels in [-1, 1]; 64 principal components of them, or of an untrained net's activations, "
        "fitted on the attacker's reference examples",
    )

    @property
    def needs(self) -> Needs:
        """The candidates and the synthetic examples; for other spaces than pixels, reference examples; no answers."""
        return Needs(answers="none", examples=True, synthetic=True, reference=self.features != "pixels")

    def encoder(self, evidence: Evidence) -> Encoder:
        """Return the map from examples to the space."""
        if self.features == "pixels":
            return fit_encoder("pixels", Examples(evidence.x[:0], evidence.labels[:0]))
        return fit_encoder(self.features, Examples(evidence.reference.x, evidence.reference.labels))


def published(examples: Examples | None) -> Examples:
    """Return synthetic examples that are there. Raises CellFailed where a release has none."""
    if examples is None or not len(examples):
        raise CellFailed("This attack needs synthetic examples, but the release publishes none.")
    return examples


def distance_to(queries: Array, points: Array) -> Array:
    """Return (m,) float64: how far each query is from the nearest point."""
    return np.asarray(nearest(queries, points)[0][:, 0])
