"""Traits: what a defense declares of itself, for plans and estimates; none of it shapes a release."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from privbench.contracts.declarations import declaration


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
