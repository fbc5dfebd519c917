"""Privacy claims: the (epsilon, delta) that a release states among its facts."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privbench.population import Population
    from privbench.record import Claims

EPSILON, DELTA, REPLACE_ONE = "epsilon", "delta", "replace_one"
"""Names of facts. replace_one = 1: for data sets that differ by replacing one example; else by adding or removing."""
LARGEST_EXPONENT = 700.0
"""Of what a float holds; every delta above 1 says the same as 1: nothing."""


@dataclass(frozen=True)
class Claim:
    """A finite epsilon that a release claims, with its delta and the neighbouring data sets that it is for."""

    epsilon: float
    delta: float | None
    """None: not stated, so that nothing can contradict the claim. Pure differential privacy states 0."""
    replace_one: bool = False
    """Neighbours differ by replacing one example; else by adding or removing one."""

    @classmethod
    def of(cls, facts: Mapping[str, float]) -> Claim | None:
        """Return what a release claims; None without an epsilon, or with an infinite one, which promises nothing."""
        epsilon, delta = facts.get(EPSILON, math.inf), facts.get(DELTA, -1.0)
        if not math.isfinite(epsilon):
            return None
        return cls(epsilon, delta if delta >= 0 else None, bool(facts.get(REPLACE_ONE)))

    @property
    def facts(self) -> dict[str, float]:
        """The facts that make the claim."""
        stated = {} if self.delta is None else {DELTA: self.delta}
        return {EPSILON: self.epsilon, **stated, REPLACE_ONE: float(self.replace_one)}

    def replacing(self) -> tuple[float, float]:
        """Return the (epsilon, delta) that follows for replacing one example. Raises ValueError without a delta.

        Replacing is removing and adding, two steps: (2 epsilon, (1 + e^epsilon) delta), by group privacy (Vadhan, The
        Complexity of Differential Privacy, 2017).
        """
        if self.delta is None:
            raise ValueError("a claim without a delta says nothing of other neighbours.")
        epsilon = max(self.epsilon, 0.0)
        if self.replace_one:
            return epsilon, self.delta
        return 2 * epsilon, min(1.0, self.delta * (1 + math.exp(min(epsilon, LARGEST_EXPONENT))))


def stated(population: Population) -> list[dict[str, float] | None]:
    """Return the facts of each release; None for one that is not in the store."""
    artifacts = map(population.artifact, range(population.models))
    return [
        None if each is None else {name: float(value) for name, value in each.json("release")["facts"].items()}
        for each in artifacts
    ]


def of_record(releases: Sequence[Mapping[str, float] | None]) -> tuple[dict[str, float], Claims | None]:
    """Return the facts of releases as a record has them, and what they claim; None where none states an epsilon.

    With claims all facts are those of the one release that promises least: numbers of different releases say nothing
    together. Without any they are means over the releases that give them. releases: as `stated` returns them.
    """
    from privbench.record import Claims

    made = [(index, facts) for index, facts in enumerate(releases) if facts is not None]
    place = weakest([facts for _, facts in made])
    if place is None:
        names = sorted({name for _, facts in made for name in facts})
        return {name: float(np.mean([facts[name] for _, facts in made if name in facts])) for name in names}, None
    epsilons = [_number(facts[EPSILON]) for _, facts in made if EPSILON in facts]
    index, facts = made[place]
    claims = Claims(
        release=index,
        releases=len(epsilons),
        epsilon_smallest=min(epsilons),
        epsilon_median=statistics.median(epsilons),
        epsilon_largest=max(epsilons),
    )
    return dict(sorted(facts.items())), claims


def weakest(releases: Sequence[Mapping[str, float]]) -> int | None:
    """Return the first release that promises least: largest epsilon, then largest delta; None where none names epsilon.

    releases: the facts of each. Without epsilon a release promises nothing, as with an infinite one.
    """
    if not any(EPSILON in facts for facts in releases):
        return None

    def promise(facts: Mapping[str, float]) -> tuple[float, float]:
        return _number(facts.get(EPSILON, math.inf)), facts.get(DELTA, 1.0)

    return max(range(len(releases)), key=lambda index: promise(releases[index]))


def _number(epsilon: float) -> float:
    return math.inf if math.isnan(epsilon) else epsilon
