"""Making one release of a population: training, queries and storage. This runs in a worker process."""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.contracts.context import Context
from privbench.contracts.release import Release
from privbench.errors import CannotWrite, CellFailed, blamed
from privbench.population.keeper import Keeper
from privbench.population.population import ANSWERS, MODEL, Job, Population
from privbench.population.queries import ask
from privbench.population.traits import publishes
from privbench.store.artifact import save_array, save_json, save_tensors
from privbench.store.fingerprint import refresh
from privbench.store.store import artifact_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from privbench.aliases import Array
    from privbench.contracts.context import Keep
    from privbench.store.store import Store

    Report = Callable[[float, str], None]

ANSWERED_ROLES = ("pool", "reference", "test")


def make(job: Job, report: Report) -> None:
    """Make one release, query it, and store both. Runs in a worker process."""
    refresh()
    population, index = job.population, job.index
    manifest = population.manifest(index)
    if artifact_key(MODEL, manifest) != job.key:
        raise CellFailed("the source of a component changed while the run was going on; start it again.")
    release, told = None, bool(job.damaged)
    for count in job.queries:
        population.store.get(ANSWERS, population.answers_manifest(index, count), told=told)  # moves damaged ones away
    if not population.store.get(MODEL, manifest, told=told):
        _import(population)
        start = time.perf_counter()
        keeper = Keeper.of(population)
        with blamed(population.defense), _own_word():
            release = fit(population, index, keeper, report)
        release = _checked(population.defense, release)
        _save(population.store, manifest, release, time.perf_counter() - start + keeper.saved)
    if job.queries:
        # The model as loaded from the store, not the one in memory: only its weights are stored.
        model = population.model(index) if release is None else population.net.filled(release.model.state_dict())
        _answer(population, index, model, job.queries, report)


@contextlib.contextmanager
def _own_word() -> Iterator[None]:
    """Contain a component's claim that something cannot be written: only the store's ends a run."""
    try:
        yield
    except CannotWrite as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith("privbench.store."):
            raise
        raise CellFailed(str(error)) from error


@functools.lru_cache(maxsize=8)
def _import(population: Population) -> None:
    """Build a model of the task, once per process, so that measured times exclude the first import."""
    with seeds.seeded(0, "empty"):
        population.blueprint.model()


def fit(population: Population, index: int, keep: Keep, report: Report) -> Release:
    """Train one release on its own half of the pool only."""
    dataset = population.dataset
    examples = dataset.examples[dataset.pool[population.members(index)]]
    # Salted, because the noise and initial weights of a training reveal more about members than the model alone.
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
    """Return the result of a defense. Raises CellFailed if it is not a release, or not what the defense declares."""
    if not isinstance(release, Release):
        raise CellFailed(f"{defense.name}: `fit` returned {type(release).__name__}; expected privbench.api.Release.")
    if release.synthetic is not None and not publishes(defense):
        raise CellFailed(f"{defense.name}: `fit` published synthetic examples; it says that it does not.")
    return release


def _save(store: Store, manifest: Mapping[str, Any], release: Release, seconds: float) -> None:
    from privbench.learn.transfers import to_host

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
    """Return the queries to one release for one role."""
    from privbench.learn.transfers import inputs_of

    if population.inputs == "original":
        return inputs_of(population.dataset, role, population.device)
    return population.asked(index, population.dataset.role(role).x)
