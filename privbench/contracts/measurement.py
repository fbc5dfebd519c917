"""Measurements: the results of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privbench.aliases import Array
    from privbench.stats.intervals import Estimate


@dataclass(frozen=True)
class Measurement:
    """The results of an audit."""

    values: Mapping[str, Estimate | float | int | str | None]
    """Named numbers, with intervals if available; None if the data cannot support one."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Small tables by title: rows of column -> number or text."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    """Data for figures; stored next to the record."""
    notes: Sequence[str] = ()
    """Notes on the numbers, a sentence each: pitfalls, omissions and their reasons."""
