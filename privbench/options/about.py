"""About a component: what its class may say beside its options and its name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class About:
    """Class attributes that any component may have; these values stand for those that it does not have."""

    version: int = 1
    """Raised when something changes that the code does not show; part of the cache key."""
    paper: str = ""
    """Authors, title, venue; or "none"."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options by the name of a preset."""


def about(cls: type) -> About:
    """Return what a component class says of itself."""
    return About(**{each.name: getattr(cls, each.name) for each in fields(About) if hasattr(cls, each.name)})
