"""Identity of a population: everything that determines its releases, and the keys under which they are stored."""

from __future__ import annotations

import functools
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from privbench import seeds
from privbench.contracts.task import Blueprint
from privbench.devices import processor
from privbench.errors import DataError
from privbench.population.membership import fixed_members, members, shadow_order
from privbench.store.fingerprint import component_key, library_versions, source_hash
from privbench.store.syntax import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.contracts.task import Task
    from privbench.data.dataset import Dataset

LENT = (
    Reference("privbench.contracts.context", "Context"),
    Reference("privbench.data.dataset", "Examples"),
    Reference("privbench.contracts.task", "Blueprint"),
)
"""Code that a defense calls, and that stores its intermediate results."""
HARNESS = (
    *LENT,
    Reference("privbench.population.releases", "fit"),
    Reference("privbench.population.membership", "members"),
    Reference("privbench.data.dataset", "Dataset"),
)
"""All code that determines a release, except the task's and the defense's."""
FIXED = (Reference("privbench.population.membership", "fixed_members"),)
"""The code that determines the members of a population of one training set."""
ASKING = (Reference("privbench.population.queries", "ask"), Reference("privbench.learn.inference", "classifier"))
"""The code that determines answers, except that of the release."""


def prepare() -> None:
    """Read the source of the harness, so that the processes that are forked from this one need not."""
    source_hash(*HARNESS)
    source_hash(*ASKING)


@functools.lru_cache(maxsize=2)
def _load_again(task: Task, fingerprint: str) -> Dataset:
    """Load, in a worker, the data of the process that planned the work; once for all jobs of a task."""
    dataset = task.load()
    if dataset.fingerprint != fingerprint:
        raise DataError(f"{task.name}: the data changed on disk while the run was going on; start it again.")
    return dataset


@dataclass(frozen=True)
class Identity:
    """Everything that determines the releases of one (task, defense)."""

    task: Task
    dataset: Dataset = field(compare=False)
    defense: Any
    models: int
    seed: int
    device: str
    _: KW_ONLY
    inputs: Literal["original", "transformed"] = "original"
    """The queries: examples, or their transforms by each release's own data stage."""
    skipped: tuple[int, ...] = ()
    """Models that are not needed."""
    fixed: float = 0.0
    """If not 0, all models have the same members, this share of the first model's half, and seeds of their own
    (`population/fixed.py`): a population for audits, which no attack may have as targets or shadows."""
    salt: str = ""
    """With it, halves, trainings and the attacks' own seeds cannot be recomputed; if empty, they are public."""

    def __getstate__(self) -> dict[str, Any]:
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**state, "dataset": self.dataset.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "dataset": _load_again(state["task"], state["dataset"])})

    @cached_property
    def blueprint(self) -> Blueprint:
        """The part of the task that the defense may know."""
        shape, classes = self.dataset.shape, self.dataset.classes
        return Blueprint(
            task=self.task.name,
            recipe=self.task.recipe,
            shape=shape,
            classes=classes,
            build=functools.partial(self.task.network, shape, classes),  # an attack may see it: nothing of the run
        )

    def members(self, index: int) -> Array:
        """Return (n,) bool over the pool: the members of model `index`."""
        index = 0 if self.fixed else index
        if index not in self._members:
            self._members[index] = self._drawn(index)
        return self._members[index]

    def _drawn(self, index: int) -> Array:
        if self.fixed:
            return fixed_members(self.seed, self.dataset.shared("pool").y, self.fixed, self.salt)
        return members(self.seed, index, len(self.dataset.pool), self.salt)

    @cached_property
    def _members(self) -> dict[int, Array]:
        return {}

    def shadow_indices(self, target: int, exclude: Sequence[int] = ()) -> list[int]:
        """Return the models that may be shadows of a target, in the order in which its attackers see them.

        These are all except the pairs of the target and of the excluded models; none if all have the same members.
        """
        if self.fixed:
            return []
        pairs = {target // 2, *(index // 2 for index in exclude)}
        order = shadow_order(self.seed, target, self.models, self.salt)
        return [index for index in order if index // 2 not in pairs]

    def manifest(self, index: int) -> dict[str, Any]:
        """Return everything that determines one release: the key under which it is stored (docs/design.md, rule 8)."""
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
            **({"fixed": self.fixed, "members by": source_hash(*FIXED)} if self.fixed else {}),
            # Not the salt itself: reading the store must not reveal memberships.
            **({"salt": seeds.derive(0, "salt", self.salt)} if self.salt else {}),
        }

    def answers_manifest(self, index: int, queries: int) -> dict[str, Any]:
        """Return the key under which one release's answers are stored."""
        inputs = {} if self.inputs == "original" else {"inputs": self.inputs}
        return {**self.manifest(index), "queries": queries, "asked by": source_hash(*ASKING), **inputs}
