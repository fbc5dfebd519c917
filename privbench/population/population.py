"""Population: M releases of one (task, defense), trained on complementary random halves of the pool.

Every model takes its turn as the target while the other pairs are its shadows; its partner, which was trained on
the complement of its half, is excluded. Including the partner would let an attack that merely counts shadow
memberships reach AUC 1 with no leakage at all (docs/design.md, rule 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from privbench.contracts.answers import Answers, Mapped
from privbench.data.dataset import Examples
from privbench.errors import CorruptArtifact
from privbench.population.ce import CrossEntropy
from privbench.population.identity import Identity
from privbench.population.net import Net, net_of
from privbench.store.store import State, Store, artifact_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.store.artifact import Artifact

MODEL, ANSWERS = "model", "answers"
"""Kinds of artifacts in the store: releases, and their answers to queries."""
WORDS = {MODEL: "release", ANSWERS: "answers"}
"""The same in messages."""


@dataclass(frozen=True)
class Job:
    """One release to make and query, as sent to a worker process."""

    population: Population
    index: int
    queries: tuple[int, ...]
    key: str
    """Key of the release, computed by the process that planned the run."""
    trained: bool
    """Whether the release is in the store, and only to be queried."""
    damaged: tuple[str, ...] = ()
    """Kinds of its artifacts that are in the store, but damaged, so that they are made again."""


@dataclass(frozen=True)
class Population(Identity):
    """The releases of one (task, defense) in a store; until they are made, some may be missing.

    `missing`, `states` and `sound` tell, after verification, which are there. All other methods raise CorruptArtifact
    for an artifact that is not there, or damaged; None always means absent by design.
    """

    store: Store = field(compare=False)

    @cached_property
    def undefended(self) -> Population:
        """The same population without a defense: the reference for costs."""
        return replace(self, defense=CrossEntropy())

    def missing(self, queries: Sequence[int]) -> list[Job]:
        """Return the jobs that remain until every release is made and queried; those of damaged artifacts included."""
        jobs = []
        indices = [index for index in range(self.models) if index not in self.skipped]
        made = self.states(indices) if self.inputs == "original" else [State.SOUND] * len(indices)
        wanted = [(ANSWERS, self.answers_manifest(index, count)) for index in indices for count in queries]
        states = iter(self.store.states(wanted))
        for index, release in zip(indices, made, strict=True):
            answers = {count: next(states) for count in queries}
            unasked = tuple(count for count, state in answers.items() if state is not State.SOUND)
            if unasked or release is not State.SOUND:
                kinds = [(MODEL, release), *((ANSWERS, state) for state in answers.values())]
                damaged = tuple(kind for kind, state in kinds if state is State.DAMAGED)
                key = artifact_key(MODEL, self.manifest(index))
                jobs.append(Job(self, index, unasked, key, release is State.SOUND, damaged))
        return jobs

    def states(self, indices: Sequence[int]) -> list[State]:
        """Return the states of some releases; verified."""
        return self.store.states([(MODEL, self.manifest(index)) for index in indices])

    def sound(self, indices: Sequence[int]) -> list[int]:
        """Return those of some releases that are in the store and undamaged."""
        return [index for index, state in zip(indices, self.states(indices), strict=True) if state is State.SOUND]

    def artifact(self, index: int) -> Artifact:
        """Return the stored release of one model; verified. Raises CorruptArtifact."""
        return self._stored(MODEL, index)

    def answers(self, index: int, queries: int, role: str) -> Answers:
        """Return one model's logits on one role's examples, read from the store on demand.

        Reading them raises CorruptArtifact if they are damaged, or were not made.
        """
        key = (index, queries, role)
        if key not in self._answers:
            labels = self.dataset.shared(role).y
            self._answers[key] = Answers(lambda: self._stored(ANSWERS, index, queries).array(role), labels)
        return self._answers[key]

    def filed(self, index: int, queries: int, role: str) -> Answers:
        """Return the same as a file in the store, for processes that may know it."""
        logits = self.answers(index, queries, role).logits
        return Answers(Mapped(str(logits.filename)), self.dataset.shared(role).y)  # type: ignore[attr-defined]

    @cached_property
    def _answers(self) -> dict[tuple[int, int, str], Answers]:
        return {}

    def _stored(self, kind: str, index: int, queries: int = 0) -> Artifact:
        key, artifact = (kind, index, queries), None
        try:
            if key in self._found:
                artifact = self.store.again(self._found[key])
            else:
                manifest = self.answers_manifest(index, queries) if kind == ANSWERS else self.manifest(index)
                artifact = self.store.find(kind, manifest)
        except CorruptArtifact as error:
            raise self._unusable(kind, index, str(error)) from None
        if artifact is None:
            raise self._unusable(kind, index, "it is not there")
        self._found[key] = artifact
        return artifact

    @cached_property
    def _found(self) -> dict[tuple[str, int, int], Artifact]:
        return {}

    def _unusable(self, kind: str, index: int, why: str) -> CorruptArtifact:
        text = f"The stored {WORDS[kind]} of {self.defense.name} model {index} cannot be used: {why.rstrip('.')}."
        return CorruptArtifact(f"{text} Run the command again: it makes what is missing.")

    def model(self, index: int) -> nn.Module:
        """Return a released model, loaded from the store, in eval mode on the population's device."""
        return self.net.filled(self.weights(index))

    def weights(self, index: int) -> dict[str, Array]:
        """Return the weights of a released model, by name."""
        return self.artifact(index).tensors("weights")

    @cached_property
    def net(self) -> Net:
        """The architecture of the released models."""
        return net_of(self.blueprint, self.defense, self.device)

    @property
    def complete(self) -> bool:
        """Whether every release is in the store, undamaged."""
        return len(self.sound(range(self.models))) == self.models

    def asked(self, index: int, x: Array) -> Array:
        """Return the queries to one release, given the inputs of examples."""
        if self.inputs == "original":
            return x
        return np.asarray(self.defense.transform_inputs(self.blueprint, self.notes(index), x, self.device))

    def notes(self, index: int) -> dict[str, Array]:
        """Return the notes of one release for figures and audits; empty if it has none."""
        artifact = self.artifact(index)
        return artifact.tensors("notes") if artifact.json("release")["notes"] else {}

    def synthetic(self, index: int) -> Examples | None:
        """Return the synthetic examples that one release publishes; None if it publishes none."""
        artifact = self.artifact(index)
        if not artifact.json("release")["synthetic"]:
            return None
        return Examples(artifact.array("synthetic_x"), artifact.array("synthetic_y"))

    def facts(self, indices: Iterable[int] | None = None) -> list[dict[str, float]]:
        """Return the facts of some releases, or of all."""
        chosen = range(self.models) if indices is None else indices
        stated = [self.artifact(index).json("release")["facts"] for index in chosen]
        return [{name: float(value) for name, value in each.items()} for each in stated]

    def seconds(self, indices: Iterable[int]) -> Array:
        """Return the seconds (n,) of some releases, including stored intermediate results."""
        return np.array([float(self.artifact(index).json("timing")["seconds"]) for index in indices])
