"""An attack over a whole population, for audits that count or rank what it says of each example."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from privbench.errors import CellFailed
from privbench.grid import Cell, needs_of, without_decisions, without_shadows
from privbench.options import spec
from privbench.plugins import resolve
from privbench.population import publishes, queries_for, variants

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.population import Population


class Attacked(NamedTuple):
    """What an attack says of every example under every target; (targets, examples) each."""

    scores: Array
    """float64, higher = likelier member."""
    decisions: Array
    """bool, the attacker's own "member"."""
    member: Array
    """bool, the truth."""


def attacked(population: Population, attack: Any) -> Attacked:
    """Attack every model of a population, each with the others as its shadows, exactly as `privbench run` does.

    attack: a membership attack that asks one query per example; what it needs besides is in `further`.
    Raises CellFailed where an audit's population does not serve the attack, or too small a one leaves it without
    decisions; and what the attack raises.
    """
    shadows = (*further(population, attack), population)[0]
    if needs_of(attack).synthetic and population.synthetic(0) is None:
        raise CellFailed(f"Attack {attack.name!r} needs synthetic examples, but {population.defense.name} has none.")
    cell = Cell(population, attack, 1, None, attacked=population, shadows=(shadows,))
    scores = np.stack([cell.scores(target) for target in cell.target_indices])
    decisions, how = cell.decisions(scores)
    if decisions is None:
        raise CellFailed(f"Attack {attack.name!r} makes no decisions ({how}); use more models.")
    return Attacked(scores, decisions, np.stack([population.members(target) for target in cell.target_indices]))


def check_decisions(population: Population, attack: Any) -> None:
    """Raise CellFailed, before anything is trained, where so few models leave an attack without decisions."""
    missing = without_decisions(attack, population.models)
    if missing:
        raise CellFailed(f"Attack {attack.name!r} makes no decisions ({missing}); use more models.")


def further(population: Population, attack: Any) -> tuple[Population, ...]:
    """Return the populations that an attack takes its shadows from, beside the attacked one: an audit's `compared`.

    Raises CellFailed for an attack that asks more of releases than audits do or than the population has, or that does
    not score examples.
    """
    needs = needs_of(attack)
    if not hasattr(attack, "score"):
        raise CellFailed(f"{attack.name!r} is no membership attack; choose one that scores examples, as m-entropy.")
    queries = needs.queries
    if queries == "task":
        queries = queries_for(population.blueprint.recipe, population.dataset.examples.is_image)
    if len(variants(queries)) > 1:
        raise CellFailed(f"Audits ask one query per example, but {spec(attack)!r} asks {queries}; try queries=1.")
    if needs.inputs != "original":
        raise CellFailed(f"Audits ask about examples as they are; {spec(attack)!r} asks about {needs.inputs} ones.")
    if needs.shadows == "released":
        raise CellFailed(f"Audits have no shadows trained on what a target released; {spec(attack)!r} studies them.")
    if needs.synthetic and not publishes(population.defense):
        raise CellFailed(f"Attack {attack.name!r} needs synthetic examples, but {population.defense.name} has none.")
    if few := without_shadows(attack, population.models):
        raise CellFailed(f"Attack {attack.name!r}: {few}")
    if needs.shadows != "undefended":
        return ()
    return (replace(population, defense=resolve("defense", "ce")),)
