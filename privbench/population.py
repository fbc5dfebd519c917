"""A population: M releases of one (task, defense), trained on complementary random halves of the pool.

Every model takes its turn as the target while the other pairs are its shadows; its partner, which was trained on
the complement of its half, is dropped. Keeping the partner would let an attack that merely counts shadow
memberships reach AUC 1 with no leakage at all (docs/design.md, rule 1).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from privbench import seeds
from privbench.api import Blueprint, Examples
from privbench.context import Context
from privbench.devices import processor
from privbench.errors import CorruptArtifact, DataError, PrivbenchError
from privbench.evidence import Answered, Answers, Evidence
from privbench.failures import blamed, note
from privbench.fingerprint import component_key, library_versions, source_hash
from privbench.membership import members, partner, shadow_order
from privbench.store import Store, artifact_key
from privbench.syntax import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

    from privbench.api import Dataset, Needs, Task
    from privbench.context import Make
    from privbench.store import Artifact

    Array = npt.NDArray[Any]

__all__ = ["ANSWERS", "KEPT", "MODEL", "Job", "Population", "members", "partner"]

MODEL, ANSWERS, KEPT = "model", "answers", "kept"
"""Kinds of artifacts in the store: releases, their answers to queries, and inner work that defenses keep."""
LENT = tuple(
    Reference("privbench." + at, name)
    for at, name in (("context", "Context"), ("data", "Examples"), ("api", "Blueprint"))
)
"""What a defense is lent, and its inner work too."""
HARNESS = (
    *LENT,
    Reference("privbench.releases", "fit"),
    Reference("privbench.population", "members"),
    Reference("privbench.data", "Dataset"),
)
"""All code that shapes a release but the task's and the defense's."""
ASKING = (Reference("privbench.queries", "ask"), Reference("privbench.inference", "classifier"))
"""The code behind an answer, but that of the release."""
ASKED_AT_ONCE = 4
"""Models that are kept in memory for an attack that puts queries of its own, one after another."""


@dataclass(frozen=True)
class Job:
    """One release to be made and queried, as it is sent to a worker process."""

    population: Population
    index: int
    queries: tuple[int, ...]
    key: str
    """Of the release, as the process that planned the run sees it."""
    trained: bool
    """Whether the release is in the store already, and only to be queried."""


@functools.lru_cache(maxsize=2)
def _load_again(task: Task, fingerprint: str) -> Dataset:
    """Load, in a worker, the data of the process that planned the work; once for all jobs of a task."""
    dataset = task.load()
    if dataset.fingerprint != fingerprint:
        raise DataError(f"{task.name}: the data changed on disk while the run was going on; start it again.")
    return dataset


@dataclass(frozen=True)
class Population:
    """The releases of one (task, defense), of which some may not be made yet."""

    task: Task
    dataset: Dataset = field(compare=False)
    defense: Any
    models: int
    seed: int
    device: str
    store: Store = field(compare=False)
    inputs: Literal["original", "transformed"] = "original"
    """What the releases are asked about: examples, or what each one's own data stage makes of them."""
    skipped: tuple[int, ...] = ()
    """Models that nobody asks for."""
    salt: str = ""
    """With it nobody can draw halves, trainings and the attacks' own seeds again; empty, it is public."""

    def __getstate__(self) -> dict[str, Any]:
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**state, "dataset": self.dataset.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "dataset": _load_again(state["task"], state["dataset"])})

    @cached_property
    def blueprint(self) -> Blueprint:
        """What the defense may know of the task."""
        shape, classes = self.dataset.shape, self.dataset.classes
        return Blueprint(
            task=self.task.name,
            recipe=self.task.recipe,
            shape=shape,
            classes=classes,
            build=functools.partial(self.task.network, shape, classes),  # an attack may see it: nothing of the run
        )

    @cached_property
    def undefended(self) -> Population:
        """The same population without a defense: what costs are compared with."""
        from privbench.plugins import resolve

        return replace(self, defense=resolve("defense", "ce"))

    def members(self, index: int) -> Array:
        """Return (n,) bool over the pool: what model `index` is trained on."""
        if index not in self._members:
            self._members[index] = members(self.seed, index, len(self.dataset.pool), self.salt)
        return self._members[index]

    @cached_property
    def _members(self) -> dict[int, Array]:
        return {}

    # What is in the store, and what is not -------------------------------------------------------------------

    def manifest(self, index: int) -> dict[str, Any]:
        """Return everything that shapes one release: the key under which it is stored (docs/design.md, rule 8)."""
        return {**self._shaped_by, "index": index}

    @cached_property
    def _shaped_by(self) -> dict[str, Any]:
        return {
            "task": {**component_key(self.task), "data": self.dataset.fingerprint},
            "defense": component_key(self.defense),
            "seed": self.seed,
            "device": self.device,
            "processor": processor(self.device),
            "harness": source_hash(*HARNESS),
            "libraries": library_versions(),
            # Not the salt itself: whoever reads the store must not learn from it who is a member.
            **({"salt": seeds.derive(0, "salt", self.salt)} if self.salt else {}),
        }

    def answers_manifest(self, index: int, queries: int) -> dict[str, Any]:
        """Return the key under which one release's answers are stored."""
        inputs = {} if self.inputs == "original" else {"inputs": self.inputs}
        return {**self.manifest(index), "queries": queries, "asked by": source_hash(*ASKING), **inputs}

    def missing(self, queries: Sequence[int]) -> list[Job]:
        """Return the jobs that are left to do until every release is made and has answered the queries."""
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
        """Return the stored release of one model, if it is made; verified when it is first asked for."""
        return self._stored(MODEL, self.manifest(index), index)

    def answers(self, index: int, queries: int, role: str) -> Answers:
        """Return one model's logits on one role's examples, read from the store when asked for."""
        key = (index, queries, role)
        if key not in self._answers:
            labels = self.dataset.shared(role).y
            self._answers[key] = Answers(lambda: self._answered(index, queries).array(role), labels)
        return self._answers[key]

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

    # What an attack sees -------------------------------------------------------------------------------------

    def shadow_indices(self, target: int, exclude: Sequence[int] = ()) -> list[int]:
        """Return the models that may be shadows of a target, in the order in which its attackers see them.

        These are all but the pairs of the target and of the excluded.
        """
        pairs = {target // 2, *(index // 2 for index in exclude)}
        order = shadow_order(self.seed, target, self.models, self.salt)
        return [index for index in order if index // 2 not in pairs]

    def evidence(
        self, target: int, needs: Needs, queries: int, shadows: Population, exclude: Sequence[int] = ()
    ) -> Evidence:
        """Return what an attack with these needs sees of one target. Shadows are of `shadows`' defense.

        `exclude` names further models whose membership the attacker must not know.
        """
        indices = shadows.shadow_indices(target, exclude) if needs.shadows != "none" else []
        pool, reference = self.dataset.shared("pool"), self.dataset.shared("reference")

        def answered(role: str) -> tuple[Answers, list[Answers]]:
            return self.answers(target, queries, role), [shadows.answers(i, queries, role) for i in indices]

        @functools.lru_cache(maxsize=ASKED_AT_ONCE)
        def loaded(shadow: int | None) -> nn.Module:
            return self.model(target) if shadow is None else shadows.model(indices[shadow])

        def query(shadow: int | None, x: Array) -> Array:
            from privbench.training import predict

            return predict(loaded(shadow), x, device=self.device)

        def keep(name: str, key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Array]:
            from privbench.releases import Keeper  # which makes populations' releases

            # With a salt nothing is shared between targets: what is kept of a shadow would tell of it as a target.
            own = {"target": target, "salt": self._shaped_by["salt"]} if self.salt else {}
            return Keeper(self)(name, {**key, **own}, make, inner)

        salt = seeds.salted(self.salt)
        return Evidence(
            needs,
            pool.y,
            *answered("pool"),
            shadow_member=np.array([shadows.members(i) for i in indices], dtype=bool).reshape(len(indices), len(pool)),
            classes=self.dataset.classes,
            x=pool.x,
            reference=Answered(needs, reference.y, *answered("reference"), x=reference.x),
            query=query,
            model=lambda: self.model(target),
            synthetic=self.synthetic(target) if needs.synthetic else None,
            shadow_synthetic=lambda shadow: shadows.synthetic(indices[shadow]),
            task=self.blueprint,
            ctx=Context(seeds.derive(self.seed, "attacker", *salt), self.device, keep=keep),
            seed=seeds.derive(self.seed, "evidence", *salt, target),
        )

    def model(self, index: int) -> nn.Module:
        """Return a released model, loaded from the store, in eval mode on the population's device."""
        import torch

        artifact = self.artifact(index)
        assert artifact is not None, "a model is asked for only after it was made"
        return self.filled({name: torch.from_numpy(array) for name, array in artifact.tensors("weights").items()})

    def filled(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a released model with these weights, in eval mode on the population's device."""
        from privbench.training import classifier

        with seeds.seeded(self.seed, "empty"):  # what an initialiser draws is overwritten, and touches nobody else's
            model: nn.Module = (self._own or classifier)(self.blueprint)
        model.to(self.device).load_state_dict(weights)
        return model.eval()

    @property
    def _own(self) -> Callable[[Blueprint], nn.Module] | None:
        """The defense's way to make its released models, where they are not the task's own."""
        own: Callable[[Blueprint], nn.Module] | None = getattr(self.defense, "empty", None)
        return own

    @cached_property
    def unfit(self) -> str:
        """Why the defense cannot make a released model of the task's, while one is left to be made; else ""."""
        if self._own is None or all(self.store.has(MODEL, self.manifest(index)) for index in range(self.models)):
            return ""
        with blamed(self.task):
            self.blueprint.model()  # one that does not fit the data is no fault of the defense
        try:
            with blamed(self.defense), seeds.seeded(self.seed, "empty"):
                self._own(self.blueprint)
        except PrivbenchError as error:
            note(error)
            return str(error)
        return ""

    def asked(self, index: int, x: Array) -> Array:
        """Return what one release is asked about, given examples' inputs."""
        if self.inputs == "original":
            return x
        return np.asarray(self.defense.transform_inputs(self.blueprint, self.notes(index), x, self.device))

    def notes(self, index: int) -> dict[str, Array]:
        """Return what one release noted for pictures and audits; nothing where it did not, or is not made."""
        artifact = self.artifact(index)
        return artifact.tensors("notes") if artifact and artifact.json("release")["notes"] else {}

    def synthetic(self, index: int) -> Examples | None:
        """Return the synthetic examples that one release publishes, if it does."""
        artifact = self.artifact(index)
        if artifact is None or not artifact.json("release")["synthetic"]:
            return None
        return Examples(artifact.array("synthetic_x"), artifact.array("synthetic_y"))
