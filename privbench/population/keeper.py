"""Stored intermediate results of releases, audits and attacks: a GAN that two defenses share is trained once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from privbench.devices import processor
from privbench.population.identity import LENT
from privbench.store.artifact import save_json, save_tensors
from privbench.store.fingerprint import library_versions, source_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array
    from privbench.contracts.context import Context, Make
    from privbench.population.population import Population
    from privbench.store.store import Store

KEPT = "kept"
"""Kind of artifacts in the store: intermediate results."""


def key_of(name: str, key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Any]:
    """Return the key of a result as far as its maker knows it; see `Context.kept`."""
    return {**key, "name": name, "seed": inner.seed, "device": inner.device, "source": source_hash(make, *LENT)}


class Keeper:
    """Stores intermediate results, and counts the seconds that they would take to recompute.

    task: the manifest of the task with its data, part of every key that is not `model_free`
    """

    def __init__(self, store: Store, task: Mapping[str, Any]) -> None:
        self.saved = 0.0
        self._store, self._task = store, task

    @classmethod
    def of(cls, population: Population) -> Keeper:
        """Return a keeper for results made with the task of a population, in its store."""
        return cls(population.store, population.manifest(0)["task"])

    def __call__(self, name: str, key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Array]:
        """Return the result of `make` (see `Context.kept`); a damaged artifact is recomputed."""
        whole = key_of(name, key, make, inner)
        arrays = self.stored(whole)
        if arrays is None:
            start, saved = time.perf_counter(), self.saved
            arrays = make(inner)
            self.store(whole, arrays, time.perf_counter() - start + self.saved - saved)
        return arrays

    def stored(self, key: Mapping[str, Any]) -> dict[str, Array] | None:
        """Return stored arrays; None if there are none."""
        artifact = self._store.get(KEPT, self._manifest(key))
        if artifact is None:
            return None
        self.saved += float(artifact.json("timing")["seconds"])
        return artifact.tensors("arrays")

    def store(self, key: Mapping[str, Any], arrays: dict[str, Array], seconds: float) -> None:
        """Store arrays that took some seconds to compute."""
        with self._store.write(KEPT, self._manifest(key)) as folder:
            save_tensors(folder / "arrays", arrays)
            save_json(folder / "timing", {"seconds": seconds})

    def _manifest(self, key: Mapping[str, Any]) -> dict[str, Any]:
        task = {} if key["model_free"] else {"task": self._task}
        return {**task, **key, "processor": processor(key["device"]), "libraries": library_versions()}
