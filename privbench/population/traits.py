"""Traits of whole defenses: what their parts declare, taken together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench.contracts.abilities import Fits, HasCriteria, Prepares, Reuses, TransformsInputs, traits_of
from privbench.options.fields import parts_of
from privbench.population.released import ReleasedShadows

if TYPE_CHECKING:
    from collections.abc import Mapping


def relative_cost(defense: Any) -> float:
    """Return how many trainings of the task's model one release takes; a shadow on released data runs no data stage."""
    parts = (defense.population.defense.trainer,) if isinstance(defense, ReleasedShadows) else parts_of(defense)
    return sum(_cost(part) for part in parts)


def _cost(part: Any) -> float:
    declared = traits_of(part).relative_cost
    return float(isinstance(part, Fits)) if declared is None else declared


def publishes(defense: Any) -> bool:
    """Return whether a defense may publish synthetic examples: a data or training stage may, unless it says not."""
    return any(traits_of(part).publishes_synthetic for part in parts_of(defense) if isinstance(part, Prepares | Fits))


def unmet(defense: Any, facts: Mapping[str, float]) -> list[str]:
    """Return how the facts of releases miss the criteria of a defense, a text each; if none does, which are absent."""
    criteria = [each for part in parts_of(defense) if isinstance(part, HasCriteria) for each in part.criteria]
    missed = [each.missed(facts[each.fact]) for each in criteria if each.fact in facts]
    absent = [f"{each.fact} was not measured: {each.meaning}" for each in criteria if each.fact not in facts]
    return [text for text in missed if text] or absent


def transforms_inputs(defense: Any) -> bool:
    """Return whether a data stage moves inputs in a way that an attacker can repeat."""
    return any(isinstance(part, TransformsInputs) for part in parts_of(defense))


def why_not_reused(defense: Any) -> str:
    """Return why shadows of a defense cannot be trained on what it publishes; "" where they can."""
    first = parts_of(defense)[0]
    traits = traits_of(first)
    if isinstance(first, Reuses) and traits.trains_on_members:
        return ""
    if traits.from_members:
        return (
            f"{first.name} trains its models on nothing but what it publishes, so shadows that were trained on the "
            "target's would not depend on their own half"
        )
    return f"{defense.name} publishes no synthetic examples"
