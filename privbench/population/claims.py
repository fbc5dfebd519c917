"""Privacy claims: the (epsilon, delta) that a release states among its facts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EPSILON, DELTA, REPLACE_ONE = "epsilon", "delta", "replace_one"
"""Names of facts. replace_one = 1: for data sets that differ by replacing one example; else by adding or removing."""
LARGEST_EXPONENT = 700.0
"""Largest exponent in e^x that a float can represent; every delta above 1 is as meaningless as 1."""


@dataclass(frozen=True)
class Claim:
    """A finite epsilon that a release claims, with its delta and its relation of neighbouring data sets."""

    epsilon: float
    delta: float | None
    """None: not stated, so that the claim cannot be contradicted. Pure differential privacy states 0."""
    replace_one: bool = False
    """Neighbours differ by replacing one example; else by adding or removing one."""

    @classmethod
    def of(cls, facts: Mapping[str, float]) -> Claim | None:
        """Return the claim of a release; None without an epsilon, or with an infinite one, which is no guarantee."""
        epsilon, delta = facts.get(EPSILON, math.inf), facts.get(DELTA, -1.0)
        if not math.isfinite(epsilon):
            return None
        return cls(epsilon, delta if delta >= 0 else None, bool(facts.get(REPLACE_ONE)))

    @property
    def facts(self) -> dict[str, float]:
        """The facts of the claim."""
        stated = {} if self.delta is None else {DELTA: self.delta}
        return {EPSILON: self.epsilon, **stated, REPLACE_ONE: float(self.replace_one)}

    def replacing(self) -> tuple[float, float]:
        """Return the implied (epsilon, delta) for replacing one example. Raises ValueError without a delta.

        Replacing is removing and adding, two steps: (2 epsilon, (1 + e^epsilon) delta), by group privacy (Vadhan, The
        Complexity of Differential Privacy, 2017).
        """
        if self.delta is None:
            raise ValueError("a claim without a delta says nothing of other neighbours.")
        epsilon = max(self.epsilon, 0.0)
        if self.replace_one:
            return epsilon, self.delta
        return 2 * epsilon, min(1.0, self.delta * (1 + math.exp(min(epsilon, LARGEST_EXPONENT))))


def weakest(releases: Sequence[Mapping[str, float]]) -> int | None:
    """Return the first release with the weakest guarantee: largest epsilon, then largest delta; None without epsilons.

    releases: the facts of each

    A release without epsilon has no guarantee, like one with an infinite epsilon.
    """
    if not any(EPSILON in facts for facts in releases):
        return None

    def promise(facts: Mapping[str, float]) -> tuple[float, float]:
        return number(facts.get(EPSILON, math.inf)), facts.get(DELTA, 1.0)

    return max(range(len(releases)), key=lambda index: promise(releases[index]))


def number(epsilon: float) -> float:
    """Return an epsilon; infinite if it is NaN."""
    return math.inf if math.isnan(epsilon) else epsilon
