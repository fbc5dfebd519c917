"""Population of one training set: all models have the same members, and seeds of their own. For audits alone.

Where the members are the same for all models, no model tells how another one answers about an example that it was not
trained on: there are no shadows, and a record of an attack cannot come from such a population (`grid/cell.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from privbench import seeds
from privbench.contracts.abilities import Fits, Prepares
from privbench.options.fields import Composite
from privbench.population.composition import Chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from privbench.contracts.context import Context
    from privbench.contracts.release import Prepared, Release
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples
    from privbench.population.population import Population


def fixed(population: Population, share: float = 1.0) -> Population:
    """Return the population whose models are all trained on a share of the first model's half, with other seeds.

    The data stages of its defense have the seeds of the first model, so that generated examples, which are a part of
    the training set, are the same for all models too.
    """
    defense = population.defense
    if isinstance(defense, Chain) and any(_only_prepares(part) for part in defense.parts):
        seed = seeds.derive(population.seed, "release", *seeds.salted(population.salt), 0)
        defense = SharedData(defense, seed)
    return replace(population, defense=defense, fixed=share)


@dataclass(frozen=True)
class SharedData(Composite):
    """A chain of defenses whose data stages are the same in all releases: their seeds are those of the first."""

    chain: Chain
    seed: int
    """Of the data stages."""

    @property
    def name(self) -> str:
        """Of the chain, as in messages."""
        return self.chain.name

    @property
    def parts(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Those of the chain."""
        return self.chain.parts

    @property
    def named(self) -> tuple[Any, ...]:
        """Those of the chain's text."""
        return self.chain.named

    def cache_key(self, key_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the chain's key. The seed follows from the population's; stored, it would undo a salt."""
        return {"shared data": self.chain.cache_key(key_of)}

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train on what the data stages of the first release make of the examples."""
        parts = [_Seeded(part, self.seed) if _only_prepares(part) else part for part in self.chain.parts]
        return Chain((*parts,)).fit(task, examples, ctx)

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded."""
        return self.chain.empty(task)


@dataclass(frozen=True)
class _Seeded:
    """A data stage with a seed that does not depend on the release."""

    part: Any
    seed: int

    @property
    def name(self) -> str:
        return str(self.part.name)

    def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Examples | Prepared:
        prepared: Examples | Prepared = self.part.prepare(task, members, replace(ctx, seed=self.seed))
        return prepared


def _only_prepares(part: Any) -> bool:
    return isinstance(part, Prepares) and not isinstance(part, Fits)
