"""Releases: the published results of a defense, and the results of a data stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from privbench.aliases import Array
    from privbench.data.dataset import Examples


GRID = "grid/"
"""Prefix of a release's notes that are pictures: uint8 (rows, columns, height, width, channels)."""


@dataclass(frozen=True)
class Release:
    """Everything that a defense publishes."""

    model: nn.Module
    """Answers queries: float32 inputs (images in [0, 1]) -> logits (batch, classes), output filters included."""
    synthetic: Examples | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    """Numbers for the record: epsilon, diversity, final loss, ..."""
    notes: Mapping[str, Array] = field(default_factory=dict)
    """Arrays stored with the release for figures and audits; no attack sees them."""


@dataclass(frozen=True)
class Prepared:
    """The result of a data stage: the training examples, and additions to the release."""

    examples: Examples
    synthetic: Examples | None = None
    """Generated examples that are published with the model."""
    facts: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Array] = field(default_factory=dict)
