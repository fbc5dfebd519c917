"""Evaluation of a reconstruction attack on every target of a population, compared with three controls.

The controls have the same metrics: held-out real images show the result of a perfect guess of the class, noise that of
any image, and the same attack on untrained networks the contribution of the attack itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench import seeds
from privbench.contracts.abilities import Depicts
from privbench.contracts.answers import read_only
from privbench.contracts.release import Release
from privbench.errors import CellFailed, InvalidScores
from privbench.executors import Call
from privbench.grid.attacking import check_images
from privbench.grid.calls import make, result, serves
from privbench.grid.damage import made_again
from privbench.options.fields import component, spec
from privbench.stats import intervals, likeness
from privbench.stats.likeness import Reconstruction

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from privbench.aliases import Array
    from privbench.contracts.context import Context
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples
    from privbench.executors import Outcome
    from privbench.grid.calls import Steps
    from privbench.grid.cell import Cell
    from privbench.grid.evaluator import Evaluator
    from privbench.population.population import Population

    Detect = Callable[[Array, Array], Array]

UNTRAINED = 2
"""Number of networks attacked for the third control: a pair."""
FOUND = 4
"""Number of third controls cached in a process, for other defenses of the same run."""
_log = logging.getLogger(__name__)
_found: dict[Hashable, tuple[Array, Array]] = {}
CONFIDENT = 0.5
"""Least confidence of the evaluation classifier that counts as a detection."""


@component
class Untrained:
    """No training: the task's model as initialised. A control, never registered."""

    name: ClassVar[str] = "untrained"

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Return a fresh model; only the statistics that standardise inputs are from the examples."""
        from privbench.learn.inference import classifier

        with ctx.seeded("init"):
            model = classifier(task)
        model.fit(examples.x)
        return Release(model)


@dataclass(frozen=True)
class _Judge:
    """The references for images: the same for the attack and for its controls."""

    evaluator: Evaluator
    detect: Detect
    pool: Examples
    features: Array
    """(n, d): the evaluator's features of the pool."""
    members: Array
    """(targets, n) bool."""

    def __call__(self, images: Array, confidence: Array) -> likeness.Nearest:
        """Return the metrics of (targets, classes, height, width, channels), given the models' confidences."""
        shape, flat = images.shape[:2], images.reshape(-1, *images.shape[2:])
        logits, features = self.evaluator.logits(flat), self.evaluator.features(flat).reshape(*shape, -1)
        found = likeness.compare(images, features, self.pool, self.features, self.members[: len(images)])
        recognised = logits.argmax(axis=1).reshape(shape) == np.arange(shape[1])
        seen = self.detect(flat, logits).reshape(shape)
        found.values.update(accuracy=recognised.astype(float), detected=seen.astype(float), confidence=confidence)
        return found


@dataclass(frozen=True)
class Asking:
    """Images for the models of a population: by name, (targets, classes, height, width, channels)."""

    population: Population
    images: Mapping[str, Array]


def confidences(job: Asking, _port: object = None) -> dict[str, Array]:
    """Return (targets, classes): each model's probability of the class of each image. Runs the defense's code."""
    population = job.population
    confident = {name: np.empty(images.shape[:2]) for name, images in job.images.items()}
    for target in range(max(map(len, job.images.values()))):
        model = population.model(target)
        for name, images in job.images.items():
            if target < len(images):
                confident[name][target] = _confidence(model, images[target], population.device)
    return confident


@dataclass(frozen=True)
class Comparing:
    """Images with the models' confidences, to be compared with the examples of a task."""

    task: Population
    """A population of the task, for its data and evaluation classifier: without the defense."""
    images: Mapping[str, Array]
    confidence: Mapping[str, Array]


def compare(job: Comparing, _port: object = None) -> tuple[Reconstruction, dict[str, Array]]:
    """Return the metrics of images, and raw arrays; see `evaluate`. Runs the task's code alone."""
    from privbench.grid import evaluator

    population, images = job.task, job.images
    judge_of, pool = evaluator.of(population), population.dataset.role("pool")
    detector, detect = _detector(population)
    members = np.stack([population.members(target) for target in range(len(images["attack"]))])
    judge = _Judge(judge_of, detect, pool, judge_of.features(pool.x), members)
    found = {name: judge(each, job.confidence[name]) for name, each in images.items()}
    absent = ~np.isin(np.arange(population.dataset.classes), population.dataset.role("test").y)
    for values in found["heldout"].values.values():
        values[:, absent] = np.nan

    numbers = {name: likeness.summarise(each.values) for name, each in found.items()}
    recognised = found["attack"].values["accuracy"].mean(axis=0)
    compared = Reconstruction(
        attack=numbers["attack"],
        heldout=numbers["heldout"],
        noise=numbers["noise"],
        untrained=numbers.get("untrained"),
        evaluator=judge_of.architecture,
        evaluator_accuracy=judge_of.accuracy,
        detector=detector,
        per_class_accuracy=[intervals.rounded(float(share), likeness.DIGITS) for share in recognised],
    )
    raw = {
        "images": images["attack"],
        "real": _pictures(pool, found["attack"].example),
        "nearest": _pictures(pool, found["attack"].member),
        **{f"values/{name}": values for name, values in found["attack"].values.items()},
    }
    return compared, raw | {name: images[name] for name in ("untrained",) if name in images}


def evaluate(
    cell: Cell, attacking: Callable[[Cell], Steps[Outcome[Any]]]
) -> Steps[tuple[Reconstruction, dict[str, Array]]]:
    """Attack every target of a cell; return the metrics of the images, and raw arrays.

    attacking: returns the steps of the attack on a cell

    The arrays are, by target and class, `images` (float32), `real`, an image of a member, and `nearest`, the member
    nearest to the image (black without members); `untrained`, the images from untrained networks; and under `values/`
    the metrics of each image. Raises InvalidScores if the attack returns no valid images.
    """
    population, targets = cell.population, cell.target_indices
    images = {
        "attack": _images(result((yield from attacking(cell))), population, len(targets)),
        "heldout": _heldout(population, len(targets)),
        "noise": _rng(population, "noise").random((len(targets), *_shape(population)), dtype=np.float32),
    }
    own = serves(population.task, population.defense)
    confidence = yield from _confidences(population, images, own)
    if _applies_to_untrained(cell):
        images["untrained"], confidence["untrained"] = yield from _untrained(cell, attacking)
    job = Comparing(population.undefended, images, confidence)
    found: tuple[Reconstruction, dict[str, Array]] = result(
        (yield Call(compare, job, serves(population.task), first=True))
    )
    return found


def _applies_to_untrained(cell: Cell) -> bool:
    """Return whether the attack uses a network, and nothing that an untrained one does not have."""
    needs = cell.needs
    return not needs.synthetic and (needs.model or needs.query or needs.answers != "none")


def _untrained(cell: Cell, attacking: Callable[[Cell], Steps[Outcome[Any]]]) -> Steps[tuple[Array, Array]]:
    """Return the attack's images from untrained networks, and their confidences.

    They do not depend on the defense, so they are computed once for a run.
    """
    models = cell.population.models if cell.needs.shadows != "none" else UNTRAINED
    population = replace(cell.population, defense=Untrained(), models=models)
    targets = min(UNTRAINED, len(cell.target_indices))
    nets = replace(cell, population=population, attacked=population, shadows=(population,), targets=targets)
    known = (population, population.dataset.fingerprint, population.store.root, cell.queries, targets)
    key = (*known, type(cell.attack), spec(cell.attack))
    if key not in _found:
        own = serves(population.task)
        jobs = population.missing([nets.queries])
        if damaged := made_again(jobs):
            _log.warning("%s", damaged)
        for job in jobs:
            result((yield Call(make, job, own, first=True)))
        images = _images(result((yield from attacking(nets))), population, targets)
        [confident] = (yield from _confidences(population, {"": images}, own)).values()
        while len(_found) >= FOUND:
            _found.pop(next(iter(_found)))
        _found[key] = read_only(images), read_only(confident)
    return _found[key]


def _images(sent: Any, population: Population, targets: int) -> Array:
    """Return the images of each target. Raises InvalidScores: the process of an attack may send anything."""
    if type(sent) is not np.ndarray:
        raise InvalidScores(f"images are {type(sent).__name__}; expected an array.")
    return check_images(sent, (targets, *_shape(population)))


def _confidences(population: Population, images: Mapping[str, Array], own: str) -> Steps[dict[str, Array]]:
    """Return the confidences of the models, from a process of the defense. Raises CellFailed for anything else."""
    sent = result((yield Call(confidences, Asking(population, images), own, first=True)))
    for name, asked in images.items():
        found = sent.get(name) if isinstance(sent, dict) else None
        if type(found) is not np.ndarray or found.shape != asked.shape[:2] or not ((found >= 0) & (found <= 1)).all():
            raise CellFailed(f"{population.defense.name}: the models' confidences are no probabilities.")
    return {name: sent[name] for name in images}


def _confidence(model: Any, images: Array, device: str) -> Array:
    """Return (classes,): a model's probability of the class of each image."""
    from scipy.special import softmax

    from privbench.learn.inference import predict

    logits = predict(model, images, device=device).astype(np.float64)
    confident: Array = np.diagonal(softmax(logits, axis=1)).copy()
    return confident


def _heldout(population: Population, targets: int) -> Array:
    """Return one test image of each class for every target; black for a class without any."""
    test = population.dataset.role("test")
    rng, images = _rng(population, "heldout"), np.zeros((targets, *_shape(population)), np.float32)
    for label in range(images.shape[1]):
        rows = np.flatnonzero(test.y == label)
        if len(rows):
            images[:, label] = likeness.unit(test.x[rng.choice(rows, targets)])
    return images


def _detector(population: Population) -> tuple[str, Detect]:
    """Return the detector: a description, and a function (images, evaluator's logits) -> bool."""
    from scipy.special import softmax

    if isinstance(population.task, Depicts) and population.task.depicts == "faces":
        from privbench.stats.detection import face_detector

        faces = face_detector()
        if faces is not None:
            return "OpenCV's frontal face cascade", lambda images, _logits: np.asarray(faces(images), dtype=bool)
    words = f"evaluation classifier, {CONFIDENT:g} or more for any class"
    return words, lambda _images, logits: softmax(logits, axis=1).max(axis=1) >= CONFIDENT


def _pictures(pool: Examples, index: Array) -> Array:
    """Return the images at (targets, classes) positions in the pool, in its dtype; black at -1."""
    found: Array = np.where(index[..., None, None, None] < 0, 0, pool.x[index]).astype(pool.x.dtype)
    return found


def _shape(population: Population) -> tuple[int, ...]:
    return (population.dataset.classes, *population.dataset.examples.x.shape[1:])


def _rng(population: Population, purpose: str) -> np.random.Generator:
    return seeds.numpy_generator(population.seed, "reconstruction", purpose)
