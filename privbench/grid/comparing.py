"""Populations that an audit compares with the one that it measures, asked for in a process of the audit."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from privbench.errors import CellFailed, blamed
from privbench.grid.calls import apart
from privbench.grid.loading import load
from privbench.population.population import Population
from privbench.population.released import ReleasedShadows

if TYPE_CHECKING:
    from privbench.contracts.abilities import Compares

NOT_SENT = ("dataset", "store")
"""Fields of a population of which no other process can tell a new value."""
_WRONG = "`compared` gives {}; expected populations that are made with dataclasses.replace(population, defense=...)."


@dataclass(frozen=True)
class Difference:
    """How a compared population differs from the given one: what another process can be told of it."""

    changes: dict[str, Any]
    """Fields with other values."""
    fingerprint: str
    """Of its data."""


def compared(audit: Compares, population: Population, timeout: float = 0.0) -> tuple[Population, ...]:
    """Return the populations that an audit compares. Raises PrivbenchError.

    timeout: seconds after which code that is not privbench's own is stopped; 0: never
    """
    found = apart(_compared, (audit, population), audit, population.task, population.defense, patience=timeout)
    return tuple(_from(population, each, timeout) for each in found)


def _compared(job: tuple[Compares, Population], _port: object) -> list[Difference]:
    audit, population = job
    with blamed(audit):
        found = list(audit.compared(population))
    return [_to(population, each) for each in found]


def _to(population: Population, other: Any) -> Difference:
    """Return the difference of a compared population. Raises CellFailed for one that a run cannot make."""
    if not isinstance(other, Population):
        raise CellFailed(_WRONG.format(f"{type(other).__name__}"))
    if isinstance(other.defense, ReleasedShadows):
        raise CellFailed(_WRONG.format("shadows on released data"))
    if other.store.root != population.store.root:
        raise CellFailed(_WRONG.format(f"a population in another store, {other.store.root}"))
    fingerprint = other.dataset.fingerprint
    if other.task == population.task and fingerprint != population.dataset.fingerprint:
        raise CellFailed(_WRONG.format(f"a population with other data than those of {population.task.name}"))
    names = [each.name for each in fields(Population) if each.name not in NOT_SENT]
    changes = {name: getattr(other, name) for name in names if getattr(other, name) != getattr(population, name)}
    return Difference(changes, fingerprint)


def _from(population: Population, told: Difference, timeout: float) -> Population:
    """Return a compared population; the data of another task are loaded. Raises PrivbenchError."""
    if "task" not in told.changes:
        return replace(population, **told.changes)
    dataset = load(told.changes["task"], timeout)
    if dataset.fingerprint != told.fingerprint:
        raise CellFailed(_WRONG.format(f"a population with other data than those of {told.changes['task'].name}"))
    return replace(population, **told.changes, dataset=dataset)
