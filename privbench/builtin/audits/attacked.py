"""An attack on every model of a population, for audits that count or rank its decisions on each example."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from privbench.api import MembershipAttack
from privbench.errors import CellFailed
from privbench.grid import Cell, decided, needs_of, without_decisions, without_shadows
from privbench.options import spec
from privbench.plugins import resolve
from privbench.population import publishes, queries_for, variants

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.population import Population


class Attacked(NamedTuple):
    """The scores and decisions of an attack for every example under every target; (targets, examples) each."""

    scores: Array
    """float64, higher = likelier member."""
    decisions: Array
    """bool, the attacker's decision "member"."""
    member: Array
    """bool, the true membership."""


def attacked(population: Population, attack: Any) -> Attacked:
    """Attack every model of a population, each with the others as its shadows, exactly like `privbench run`.

    attack: a membership attack with one query per example; `further` returns the other populations that it needs

    Raises CellFailed if the population of an audit does not suit the attack, or is too small for decisions; and the
    errors of the attack.
    """
    cell = cell_of(population, attack)
    scores, decisions, how = decided(cell)
    if decisions is None:
        raise CellFailed(f"Attack {attack.name!r} makes no decisions ({how}); use more models.")
    return Attacked(scores, decisions, np.stack([population.members(target) for target in cell.target_indices]))


def cell_of(population: Population, attack: Any) -> Cell:
    """Return the cell of an attack on a population, each model with the others as its shadows.

    Raises CellFailed if the population of an audit does not suit the attack.
    """
    shadows = (*further(population, attack), population)[0]
    if needs_of(attack).synthetic and population.synthetic(0) is None:
        raise CellFailed(f"Attack {attack.name!r} needs synthetic examples, but {population.defense.name} has none.")
    return Cell(population, attack, 1, None, attacked=population, shadows=(shadows,))


def check_decisions(population: Population, attack: Any) -> None:
    """Raise CellFailed, before anything is trained, if there are too few models for decisions of the attack."""
    missing = without_decisions(attack, population.models)
    if missing:
        raise CellFailed(f"Attack {attack.name!r} makes no decisions ({missing}); use more models.")


def further(population: Population, attack: Any) -> tuple[Population, ...]:
    """Return the other populations from which an attack takes its shadows: an audit's `compared`.

    Raises CellFailed for an attack that requires more of releases than audits or the population provide, or that does
    not score examples.
    """
    needs = needs_of(attack)
    if not isinstance(attack, MembershipAttack):
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
