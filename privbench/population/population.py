"""Population: M releases of one (task, defense), trained on complementary random halves of the pool.

Every model takes its turn as the target while the other pairs are its shadows; its partner, which was trained on
the complement of its half, is excluded. Including the partner would let an attack that merely counts shadow
memberships reach AUC 1 with no leakage at all (docs/design.md, rule 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.contracts.answers import Answers, Mapped
from privbench.data.dataset import Examples
from privbench.errors import CorruptArtifact, PrivbenchError, blamed, note
from privbench.population.ce import CrossEntropy
from privbench.population.identity import Identity
from privbench.population.net import Net, net_of
from privbench.store.store import Store, artifact_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.store.artifact import Artifact

MODEL, ANSWERS = "model", "answers"
"""Kinds of artifacts in the store: releases, and their answers to queries."""


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


@dataclass(frozen=True)
class Population(Identity):
    """The releases of one (task, defense) in a store; some may be missing."""

    store: Store = field(compare=False)

    @cached_property
    def undefended(self) -> Population:
        """The same population without a defense: the reference for costs."""
        return replace(self, defense=CrossEntropy())

    def missing(self, queries: Sequence[int]) -> list[Job]:
        """Return the jobs that remain until every release is made and queried."""
        jobs = []
        for index in range(self.models):
            if index in self.skipped:
                continue
            manifest = self.manifest(index)
            wanted = tuple(q for q in queries if not self.store.has(ANSWERS, self.answers_manifest(index, q)))
            trained = self.inputs != "original" or self.store.has(MODEL, manifest)
            if wanted or not trained:
                jobs.append(Job(self, index, wanted, artifact_key(MODEL, manifest), trained))
        return jobs

    def artifact(self, index: int) -> Artifact | None:
        """Return the stored release of one model, if present; verified on first access."""
        return self._stored(MODEL, self.manifest(index), index)

    def answers(self, index: int, queries: int, role: str) -> Answers:
        """Return one model's logits on one role's examples, read from the store on demand."""
        key = (index, queries, role)
        if key not in self._answers:
            labels = self.dataset.shared(role).y
            self._answers[key] = Answers(lambda: self._answered(index, queries).array(role), labels)
        return self._answers[key]

    def filed(self, index: int, queries: int, role: str) -> Answers:
        """Return the same as a file in the store, for processes that may know it."""
        logits = self.answers(index, queries, role).logits
        return Answers(Mapped(str(logits.filename)), self.dataset.shared(role).y)  # type: ignore[attr-defined]

    @cached_property
    def _answers(self) -> dict[tuple[int, int, str], Answers]:
        return {}

    def _answered(self, index: int, queries: int) -> Artifact:
        artifact = self._stored(ANSWERS, self.answers_manifest(index, queries), index, queries)
        if artifact is None:
            raise CorruptArtifact(
                f"The stored answers of {self.defense.name} model {index} are damaged or gone; run the command again."
            )
        return artifact

    def _stored(self, kind: str, manifest: Mapping[str, Any], *which: int) -> Artifact | None:
        key: tuple[str | int, ...] = (kind, *which)
        artifact = self._verified.get(key) or self.store.get(kind, manifest)
        if artifact is not None:
            self._verified[key] = artifact
        return artifact

    @cached_property
    def _verified(self) -> dict[tuple[str | int, ...], Artifact]:
        return {}

    def model(self, index: int) -> nn.Module:
        """Return a released model, loaded from the store, in eval mode on the population's device."""
        return self.net.filled(self.weights(index))

    def weights(self, index: int) -> dict[str, Array]:
        """Return the weights of a released model, by name."""
        artifact = self.artifact(index)
        assert artifact is not None, "a model is asked for only after it was made"
        return artifact.tensors("weights")

    @cached_property
    def net(self) -> Net:
        """The architecture of the released models."""
        return net_of(self.blueprint, self.defense, self.device)

    @property
    def complete(self) -> bool:
        """Whether every release is in the store; it may be damaged."""
        return all(self.store.has(MODEL, self.manifest(index)) for index in range(self.models))

    @cached_property
    def unfit(self) -> str:
        """Why the defense cannot make a released model of the task's; else "". Runs code of both."""
        with blamed(self.task):
            self.blueprint.model()  # a model that does not fit the data is not the defense's error
        try:
            with blamed(self.defense), seeds.seeded(self.seed, "empty"):
                self.defense.empty(self.blueprint)
        except PrivbenchError as error:
            note(error)
            return str(error)
        return ""

    def asked(self, index: int, x: Array) -> Array:
        """Return the queries to one release, given the inputs of examples."""
        if self.inputs == "original":
            return x
        return np.asarray(self.defense.transform_inputs(self.blueprint, self.notes(index), x, self.device))

    def notes(self, index: int) -> dict[str, Array]:
        """Return the notes of one release for figures and audits; empty without notes or release."""
        artifact = self.artifact(index)
        return artifact.tensors("notes") if artifact and artifact.json("release")["notes"] else {}

    def synthetic(self, index: int) -> Examples | None:
        """Return the synthetic examples that one release publishes, if any."""
        artifact = self.artifact(index)
        if artifact is None or not artifact.json("release")["synthetic"]:
            return None
        return Examples(artifact.array("synthetic_x"), artifact.array("synthetic_y"))

    def facts(self) -> list[dict[str, float] | None]:
        """Return the facts of each release; None for one that is not in the store."""
        artifacts = map(self.artifact, range(self.models))
        return [
            None if each is None else {name: float(value) for name, value in each.json("release")["facts"].items()}
            for each in artifacts
        ]

    def seconds(self, indices: Iterable[int]) -> Array:
        """Return the seconds (n,) of the releases in the store, including stored intermediate results."""
        artifacts = filter(None, map(self.artifact, indices))
        return np.array([float(artifact.json("timing")["seconds"]) for artifact in artifacts])
