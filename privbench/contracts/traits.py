"""Traits: what a defense declares of itself, for plans and estimates; none of it shapes a release."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from privbench.contracts.declarations import declaration


@declaration
class Criterion:
    """What a fact of a defense's releases must be, for it to have done what it is meant to do."""

    fact: str
    meaning: str
    """What holds then, as in "moved examples rank in the safer half"."""
    least: float = -math.inf
    most: float = math.inf

    def missed(self, value: float) -> str:
        """Return how a value misses the criterion, as text; "" if it does not."""
        if self.least <= value <= self.most:
            return ""
        bounds = [f"at least {self.least:g}"] * (self.least > -math.inf) + [f"at most {self.most:g}"] * (
            self.most < math.inf
        )
        return f"{self.fact} is {value:.3g}, where {' and '.join(bounds)} would mean: {self.meaning}"


@declaration
class Traits:
    """What a defense declares of itself; a class attribute `traits` or a property that depends on options."""

    relative_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Trainings of the task's model that it takes, for time estimates. None: one for a training stage, none for a data
    stage or an output filter."""
    from_members: bool = False
    """Its data stage must get the members themselves, because it trains a generator on them: it stands first in a
    chain."""
    publishes_synthetic: bool = True
    """Whether it may publish synthetic examples. If not, attacks on them are known to be n/a before anything is
    trained."""
    trains_on_members: bool = True
    """Whether released models are trained on the members, and not on synthetic examples alone. If not, there is nothing
    that an attacker could reuse the synthetic examples for."""
    criteria: tuple[Criterion, ...] = ()
    """What the facts of its releases must be. A leaderboard marks a defense whose mean facts miss one."""
