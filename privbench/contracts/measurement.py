"""Measurements: what an audit returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privbench.aliases import Array
    from privbench.stats.intervals import Estimate


@dataclass(frozen=True)
class Measurement:
    """What an audit found."""

    values: Mapping[str, Estimate | float | int | str | None]
    """Named numbers, with intervals where there are any; None where the data cannot support one."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Small tables for people, by title: rows of column -> number or text."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    """What figures are drawn from; kept beside the record."""
    notes: Sequence[str] = ()
    """What must be said beside the numbers, a sentence each: how not to read them, what was left out and why."""
