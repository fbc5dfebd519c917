"""One release of a population: made, queried and stored. This runs in a worker process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from privbench import seeds
from privbench.context import Context
from privbench.errors import CellFailed
from privbench.fingerprint import source_hash
from privbench.population import ANSWERS, KEPT, MODEL, Job, Population
from privbench.queries import ask
from privbench.store import artifact_key, save_array, save_json, save_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from privbench.api import Release
    from privbench.store import Store

    Array = npt.NDArray[Any]

ANSWERED_ROLES = ("pool", "reference", "test")


def make(job: Job, report: Callable[[float, str], None]) -> None:
    """Make one release, query it, and put both into the store. Runs in a worker process."""
    population, index = job.population, job.index
    manifest = population.manifest(index)
    if artifact_key(MODEL, manifest) != job.key:
        raise CellFailed("the source of a component changed while the run was going on; start it again.")
    if not population.store.has(MODEL, manifest):
        population.blueprint.model()  # so that the time measured is not that of the first import
        start = time.perf_counter()
        release = _fit(population, index, report)
        _save(population.store, manifest, release, time.perf_counter() - start)
    if job.queries:
        _answer(population, index, job.queries, report)


def _fit(population: Population, index: int, report: Callable[[float, str], None]) -> Release:
    """Train one release on its own half of the pool, and on nothing else."""
    dataset, store = population.dataset, population.store
    examples = dataset.role("pool")[population.members(index)]
    seed = seeds.derive(population.seed, "release", index)

    def keep(name: str, key: Mapping[str, Any], make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        shaped_by = {k: v for k, v in population.manifest(index).items() if k != "defense"}
        manifest = {**shaped_by, "name": name, "options": dict(key), "source": source_hash(make.__module__)}
        artifact = store.get(KEPT, manifest)
        if artifact is not None:
            return artifact.tensors("arrays")
        arrays = make()
        with store.write(KEPT, manifest) as folder:
            save_tensors(folder / "arrays", arrays)
        return arrays

    context = Context(
        seed=seed,
        device=population.device,
        reference=dataset.role("reference"),
        validation=dataset.role("validation"),
        keep=keep,
        report=report,
    )
    release: Release = population.defense.fit(population.blueprint, examples, context)
    return release


def _save(store: Store, manifest: Mapping[str, Any], release: Release, seconds: float) -> None:
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in release.model.state_dict().items()}
    with store.write(MODEL, manifest) as folder:
        save_tensors(folder / "weights", weights)
        facts = {name: str(float(value)) for name, value in release.facts.items()}  # text: an epsilon may be infinite
        save_json(folder / "release", {"facts": facts, "synthetic": release.synthetic is not None})
        save_json(folder / "timing", {"seconds": seconds})
        if release.synthetic is not None:
            save_array(folder / "synthetic_x", release.synthetic.x)
            save_array(folder / "synthetic_y", release.synthetic.y)


def _answer(population: Population, index: int, queries: Sequence[int], report: Callable[[float, str], None]) -> None:
    """Store the logits of one release on every role that is ever queried, float32 (DESIGN rule 6)."""
    model = population.model(index)
    for count in queries:
        report(1.0, f"{count} queries")
        with population.store.write(ANSWERS, {**population.manifest(index), "queries": count}) as folder:
            for role in ANSWERED_ROLES:
                x = population.dataset.role(role).x
                asked = count if role != "test" else 1
                save_array(folder / role, ask(model, x, asked, device=population.device))
