"""Evidence of a population: the view of one target for an attack with given needs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.contracts.context import Context
from privbench.contracts.evidence import Answered, Evidence
from privbench.population.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.contracts.answers import Answers
    from privbench.contracts.context import Make
    from privbench.contracts.needs import Needs
    from privbench.population.population import Population

ASKED_AT_ONCE = 4
"""Number of models kept in memory for an attack with its own queries."""


def evidence_of(
    population: Population,
    target: int,
    needs: Needs,
    queries: int,
    shadows: Population,
    *,
    exclude: Sequence[int] = (),
) -> Evidence:
    """Return the evidence about one target for an attack with these needs.

    shadows: the population of the shadows
    exclude: further models whose membership the attacker must not know
    """
    indices = shadows.shadow_indices(target, exclude) if needs.shadows != "none" else []
    pool, reference = population.dataset.shared("pool"), population.dataset.shared("reference")

    def answered(role: str) -> tuple[Answers, list[Answers]]:
        return population.answers(target, queries, role), [shadows.answers(i, queries, role) for i in indices]

    @functools.lru_cache(maxsize=ASKED_AT_ONCE)
    def loaded(shadow: int | None) -> nn.Module:
        return population.model(target) if shadow is None else shadows.model(indices[shadow])

    def query(shadow: int | None, x: Array) -> Array:
        from privbench.learn.training import predict

        return predict(loaded(shadow), x, device=population.device)

    def keep(name: str, key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Array]:
        # With a salt nothing is shared between targets: data stored about a shadow would reveal it as a target.
        own = {"target": target, "salt": population.manifest(target)["salt"]} if population.salt else {}
        return Keeper.of(population)(name, {**key, **own}, make, inner)

    salt = seeds.salted(population.salt)
    return Evidence(
        needs,
        pool.y,
        *answered("pool"),
        shadow_member=np.array([shadows.members(i) for i in indices], dtype=bool).reshape(len(indices), len(pool)),
        classes=population.dataset.classes,
        x=pool.x,
        reference=Answered(needs, reference.y, *answered("reference"), x=reference.x),
        query=query,
        model=lambda: population.model(target),
        synthetic=population.synthetic(target) if needs.synthetic else None,
        shadow_synthetic=lambda shadow: shadows.synthetic(indices[shadow]),
        task=population.blueprint,
        ctx=Context(seeds.derive(population.seed, "attacker", *salt), population.device, keep=keep),
        seed=seeds.derive(population.seed, "evidence", *salt, target),
    )
