"""One release of a population: made, queried and stored. This runs in a worker process."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.api import Release
from privbench.context import Context
from privbench.defenses.released import publishes
from privbench.devices import processor
from privbench.errors import CellFailed
from privbench.failures import blamed
from privbench.fingerprint import library_versions, source_hash
from privbench.population import ANSWERS, KEPT, LENT, MODEL, Job, Population
from privbench.queries import ask
from privbench.store import artifact_key, save_array, save_json, save_tensors
from privbench.transfers import inputs_of, to_host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

    from privbench.context import Keep, Make
    from privbench.store import Store

    Array = npt.NDArray[Any]
    Report = Callable[[float, str], None]

ANSWERED_ROLES = ("pool", "reference", "test")


def make(job: Job, report: Report) -> None:
    """Make one release, query it, and put both into the store. Runs in a worker process."""
    population, index = job.population, job.index
    manifest = population.manifest(index)
    if artifact_key(MODEL, manifest) != job.key:
        raise CellFailed("the source of a component changed while the run was going on; start it again.")
    release = None
    if not population.store.has(MODEL, manifest):
        _import(population)
        start = time.perf_counter()
        keeper = Keeper(population)
        with blamed(population.defense):
            release = fit(population, index, keeper, report)
        release = _checked(population.defense, release)
        _save(population.store, manifest, release, time.perf_counter() - start + keeper.saved)
    if job.queries:
        # The released model, and not the one in hand: of that only the weights are in the store.
        model = population.model(index) if release is None else population.filled(release.model.state_dict())
        _answer(population, index, model, job.queries, report)


@functools.lru_cache(maxsize=8)
def _import(population: Population) -> None:
    """Make a model of the task, once a process, so that no time that is measured is that of the first import."""
    population.blueprint.model()


def fit(population: Population, index: int, keep: Keep, report: Report) -> Release:
    """Train one release on its own half of the pool, and on nothing else."""
    dataset = population.dataset
    examples = dataset.examples[dataset.pool[population.members(index)]]
    # Salted, for whoever knows the noise and the first weights of a training learns more from the model than it tells.
    seed = seeds.derive(population.seed, "release", *seeds.salted(population.salt), index)
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


def _checked(defense: Any, release: Any) -> Release:
    """Return what a defense made. Raises CellFailed where that is no release, or not what it says that it publishes."""
    if not isinstance(release, Release):
        raise CellFailed(f"{defense.name}: `fit` returned {type(release).__name__}; expected privbench.api.Release.")
    if release.synthetic is not None and not publishes(defense):
        raise CellFailed(f"{defense.name}: `fit` published synthetic examples; it says that it does not.")
    return release


class Keeper:
    """Keeps inner work of a release, or of an audit, in the store; counts what it would have cost to do it again."""

    def __init__(self, population: Population) -> None:
        self.population, self.saved = population, 0.0

    def __call__(self, name: str, key: Mapping[str, Any], make: Make, inner: Context) -> dict[str, Array]:
        """Return what `make` computes (see `Context.kept`); a stored artifact that is damaged is made again."""
        store, population = self.population.store, self.population
        manifest = {
            **({} if key["model_free"] else {"task": population.manifest(0)["task"]}),
            **key,
            "name": name,
            "seed": inner.seed,
            "device": inner.device,
            "processor": processor(inner.device),
            "source": source_hash(make, *LENT),
            "libraries": library_versions(),
        }
        artifact = store.get(KEPT, manifest)
        if artifact is not None:
            self.saved += float(artifact.json("timing")["seconds"])
            return artifact.tensors("arrays")
        start, saved = time.perf_counter(), self.saved
        arrays = make(inner)
        seconds = time.perf_counter() - start + self.saved - saved
        with store.write(KEPT, manifest) as folder:
            save_tensors(folder / "arrays", arrays)
            save_json(folder / "timing", {"seconds": seconds})
        return arrays


def _save(store: Store, manifest: Mapping[str, Any], release: Release, seconds: float) -> None:
    weights = to_host(release.model.state_dict())
    with store.write(MODEL, manifest) as folder:
        save_tensors(folder / "weights", weights)
        facts = {name: str(float(value)) for name, value in release.facts.items()}  # text: an epsilon may be infinite
        extras = {"synthetic": release.synthetic is not None, "notes": bool(release.notes)}
        save_json(folder / "release", {"facts": facts, **extras})
        save_json(folder / "timing", {"seconds": seconds})
        if release.notes:
            save_tensors(folder / "notes", {name: np.ascontiguousarray(array) for name, array in release.notes.items()})
        if release.synthetic is not None:
            save_array(folder / "synthetic_x", release.synthetic.x)
            save_array(folder / "synthetic_y", release.synthetic.y)


def _answer(population: Population, index: int, model: nn.Module, queries: Sequence[int], report: Report) -> None:
    """Store the logits of one release on every role that is ever queried, float32 (docs/design.md, rule 6).

    The answers to fewer queries are the first of those to more.
    """
    report(1.0, f"{max(queries)} queries")
    with contextlib.ExitStack() as stack:
        writing = [population.store.write(ANSWERS, population.answers_manifest(index, count)) for count in queries]
        folders = [stack.enter_context(each) for each in writing]
        for role in ANSWERED_ROLES:
            asked = max(queries) if role != "test" else 1
            answers = ask(model, _inputs(population, index, role), asked, device=population.device)
            for folder, count in zip(folders, queries, strict=True):
                save_array(folder / role, answers[:, :count])


def _inputs(population: Population, index: int, role: str) -> Array | Tensor:
    """Return what one release is asked about, of one role."""
    if population.inputs == "original":
        return inputs_of(population.dataset, role, population.device)
    return population.asked(index, population.dataset.role(role).x)
