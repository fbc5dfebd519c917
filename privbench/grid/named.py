"""Attacks that an audit names. They run apart from it: its process holds the population, which no attack may see.

The audit's process asks the process of the run, which gives the evidence to a process of the attack.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from privbench.errors import CellFailed, PrivbenchError
from privbench.executors import Outcome
from privbench.grid.attacking import Attacked, attack
from privbench.grid.calls import now, result, serves
from privbench.grid.cell import Cell
from privbench.grid.measuring import decide
from privbench.grid.scoring import attacking, deciding, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from privbench.aliases import Array
    from privbench.executors import Call, Port, Servant
    from privbench.grid.scoring import Place
    from privbench.population.population import Population

ATTACKS = "runs an audit's attack"


def scores_of(cell: Cell, places: Sequence[Place]) -> Array:
    """Return (places, examples) scores of an attack that an audit names. Raises what the attack raises.

    cell: of populations of the audit: its own and those that it compares
    places: targets, each with None, or pseudo-targets; see `places_of`
    """
    audit = _audit.get()
    if audit is None or not serves(cell.attack):
        here: Attacked = result(now(attacking(cell, None, attack, places)))
        return here.scores
    attacked, (shadows,) = cell.attacked, cell.shadows
    try:
        attacked_at, shadows_at = audit.sources.index(attacked), audit.sources.index(shadows)
    except ValueError:
        raise CellFailed("`compared` must return all populations that `measure` uses.") from None
    asked: Array = audit.port.ask(Wanted(cell.attack, attacked_at, shadows_at, tuple(places)))
    return asked


def decided(cell: Cell) -> tuple[Array, Array | None, str]:
    """Attack every target of a cell; return (targets, examples) scores and decisions, and the source of decisions."""
    found = scores_of(cell, places_of(cell))
    return found[: len(cell.target_indices)], *decide(found[: len(cell.target_indices)], deciding(cell, found))


@dataclass(frozen=True)
class Wanted:
    """Scores for which an audit's process asks."""

    attack: Any
    attacked: int
    """Position of the attacked population among those of the audit."""
    shadows: int
    """Position of the shadows' population."""
    places: tuple[Place, ...]


def answer(wanted: Wanted, sources: Sequence[Population], servant: Callable[..., Servant]) -> Array:
    """Return the scores that an audit's process asks for. Raises what the attack raises.

    sources: the populations of the audit
    servant: returns the process of a component; see `Pool.servant`
    """
    attacked, shadows = sources[wanted.attacked], sources[wanted.shadows]
    cell = Cell(attacked, wanted.attack, 1, None, attacked=attacked, shadows=(shadows,))

    def run(call: Call[Any]) -> Outcome[Any]:
        try:
            found = servant(call.serves, ATTACKS).call(call.function, call.job, call.answer)
        except PrivbenchError as error:
            return Outcome(0, call.job, None, error, 0.0)
        return Outcome(0, call.job, found, None, 0.0)

    found: Attacked = result(now(attacking(cell, servant, attack, wanted.places), run))
    return found.scores


@contextlib.contextmanager
def asking(port: Port, sources: Sequence[Population]) -> Iterator[None]:
    """Let `scores_of` ask the process of the run, inside a block."""
    token = _audit.set(_Audit(port, tuple(sources)))
    try:
        yield
    finally:
        _audit.reset(token)


class _Audit(NamedTuple):
    port: Port
    sources: tuple[Population, ...]


_audit: ContextVar[_Audit | None] = ContextVar("audit", default=None)
"""The audit of this process, if it runs apart from the run."""
