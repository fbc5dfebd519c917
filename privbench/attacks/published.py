"""What attacks on published synthetic examples have in common: they look for members in a space of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import Examples, Needs, option
from privbench.errors import CellFailed
from privbench.features import Encoder, fit_encoder, pixels
from privbench.neighbours import nearest

if TYPE_CHECKING:
    from privbench.evidence import Evidence

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FeatureOptions:
    """In which space examples are compared."""

    features: Literal["pixels", "pca", "encoder"] = option(
        "pixels",
        "space of distances: pixels in [-1, 1], or columns; 64 principal components of them, or of an untrained net's "
        "activations, fitted on the attacker's reference examples",
    )
    scale: Literal["columns", "none"] = option(
        "columns",
        "of tables, without effect on images: divide each column by its standard deviation among the attacker's "
        "reference examples; none: compare rows as they are, features=pixels only",
    )

    @property
    def needs(self) -> Needs:
        """The candidates, the synthetic examples and, for components and scales, reference examples; no answers."""
        return Needs(answers="none", examples=True, synthetic=True, reference=not self.encodes_raw)

    @property
    def encodes_raw(self) -> bool:
        """Whether rows of tables are compared as they are."""
        return self.features == "pixels" and self.scale == "none"

    def encoder(self, evidence: Evidence) -> Encoder:
        """Return the map from examples to the space."""
        if self.encodes_raw:
            return Encoder("pixels", pixels)
        reference = Examples(evidence.reference.x, evidence.reference.labels)
        return fit_encoder(self.features, reference, published=published(evidence.synthetic).x)


def published(examples: Examples | None) -> Examples:
    """Return synthetic examples that are there. Raises CellFailed where a release has none."""
    if examples is None or not len(examples):
        raise CellFailed("This attack needs synthetic examples, but the release publishes none.")
    return examples


def distance_to(queries: Array, points: Array) -> Array:
    """Return (m,) float64: how far each query is from the nearest point."""
    return np.asarray(nearest(queries, points)[0][:, 0])
