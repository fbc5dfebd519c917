"""Evidence of a population: the view of one target for an attack with given needs.

It is packed into a parcel, which holds what the needs declare and nothing else, so that it can be sent to the process
of an attack. What a parcel cannot hold, such as answers to queries of the attacker's choice, is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from privbench import seeds
from privbench.contracts.context import Context
from privbench.contracts.evidence import Answered, Evidence, predicted
from privbench.population.keeper import key_of
from privbench.population.lending import Lending
from privbench.population.served import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.contracts.answers import Answers
    from privbench.contracts.context import Keep, Make
    from privbench.contracts.needs import Needs
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples
    from privbench.population.net import Net
    from privbench.population.population import Population
    from privbench.population.served import Request

    Ask = Callable[[Request], Any]


class Seen(NamedTuple):
    """Examples with predictions, as far as an attack may see them; see `Answered`."""

    labels: Array
    target: Answers | Array | None
    shadows: tuple[Answers, ...]
    x: Array | None

    def answered(self, needs: Needs) -> Answered:
        """Return them as evidence."""
        return Answered(needs, self.labels, self.target, self.shadows, x=self.x)


@dataclass(frozen=True)
class Parcel:
    """Everything that an attack may see of one target, and nothing else: no population, membership, seed or store."""

    needs: Needs
    pool: Seen
    reference: Seen | None
    shadow_member: Array | None
    """(s, n) bool, of an attack with shadows."""
    classes: int
    input_shape: tuple[int, ...]
    synthetic: Examples | None
    shadow_synthetic: tuple[Examples | None, ...]
    net: Net | None
    """The architecture of the target, for a white-box attack."""
    task: Blueprint | None
    training_seed: int
    device: str
    seed: int
    """Seed of the attack's own random numbers; it tells nothing of the run's."""

    def evidence(self, ask: Ask) -> Evidence:
        """Return the evidence for an attack.

        ask: returns the answer to a request; see `Server`
        """
        x = self.pool.x

        def query(shadow: int | None, x: Array) -> Array:
            answers: Array = ask(("query", shadow, x))
            return answers

        def model() -> nn.Module:
            assert self.net is not None
            return self.net.filled(ask(("weights",)))

        return Evidence(
            self.needs,
            self.pool.labels,
            self.pool.target,
            self.pool.shadows,
            self.shadow_member,
            classes=self.classes,
            x=x,
            input_shape=self.input_shape,
            reference=None if self.reference is None else self.reference.answered(self.needs),
            query=query,
            model=model,
            synthetic=self.synthetic,
            shadow_synthetic=lambda shadow: self.shadow_synthetic[shadow],
            task=self.task,
            ctx=Context(self.training_seed, self.device, keep=_kept(ask)),
            seed=self.seed,
        )


def _kept(ask: Ask) -> Keep:
    """Return what keeps an attack's own intermediate results, through the process that holds the store."""

    def keep(name: str, key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Array]:
        own = key_of(name, key, make, inner)
        arrays: dict[str, Array] | None = ask(("kept", own))
        if arrays is None:
            arrays = make(inner)
            ask(("keep", own, arrays))
        return arrays

    return keep


def parcel_of(
    population: Population,
    target: int,
    needs: Needs,
    queries: int,
    shadows: Population,
    *,
    exclude: Sequence[int] = (),
    lending: Lending | None = None,
) -> Parcel:
    """Return the evidence about one target for an attack with these needs, to be sent.

    shadows: the population of the shadows
    exclude: further models whose membership the attacker must not know
    lending: sends answers without their place in the store
    """
    lend = (lending or Lending()).lend
    indices = shadows.shadow_indices(target, exclude) if needs.shadows != "none" else []
    pool = population.dataset.shared("pool")

    def seen(role: str, *, inputs: bool) -> Seen:
        examples = population.dataset.shared(role)
        answers: Answers | Array | None = None
        if needs.answers != "none":
            answers = population.answers(target, queries, role)
            answers = lend(answers) if needs.answers == "logits" else predicted(answers)
        studied = tuple(lend(shadows.answers(index, queries, role)) for index in indices)
        return Seen(examples.y, answers, studied, examples.x if inputs else None)

    member = np.array([shadows.members(i) for i in indices], dtype=bool).reshape(len(indices), len(pool))
    salt = seeds.salted(population.salt)
    return Parcel(
        needs,
        pool=seen("pool", inputs=needs.examples),
        reference=seen("reference", inputs=True) if needs.reference else None,
        shadow_member=member if needs.shadows != "none" else None,
        classes=population.dataset.classes,
        input_shape=tuple(pool.x.shape[1:]),
        synthetic=population.synthetic(target) if needs.synthetic else None,
        shadow_synthetic=tuple(shadows.synthetic(index) for index in indices) if needs.synthetic else (),
        net=population.net if needs.model else None,
        task=population.blueprint if needs.training else None,
        training_seed=seeds.derive(population.seed, "attacker", *salt) if needs.training else 0,
        device=population.device,
        seed=seeds.derive(population.seed, "evidence", *salt, target),
    )


def evidence_of(
    population: Population,
    target: int,
    needs: Needs,
    queries: int,
    shadows: Population,
    *,
    exclude: Sequence[int] = (),
) -> Evidence:
    """Return the evidence about one target for an attack with these needs, all in this process; see `parcel_of`."""
    parcel = parcel_of(population, target, needs, queries, shadows, exclude=exclude)
    return parcel.evidence(Server(population, target, needs, shadows, exclude=exclude))
