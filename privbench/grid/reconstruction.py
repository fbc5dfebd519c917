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
from privbench.grid.damage import made_again
from privbench.options.fields import component, spec
from privbench.stats import intervals, likeness
from privbench.stats.likeness import Reconstruction

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from privbench.aliases import Array
    from privbench.contracts.context import Context
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples
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
        from privbench.learn.training import classifier

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


def evaluate(cell: Cell) -> tuple[Reconstruction, dict[str, Array]]:
    """Attack every target of a cell; return the metrics of the images, and raw arrays.

    The arrays are, by target and class, `images` (float32), `real`, an image of a member, and `nearest`, the member
    nearest to the image (black without members); `untrained`, the images from untrained networks; and under `values/`
    the metrics of each image. Raises InvalidScores if the attack returns no valid images.
    """
    from privbench.grid import evaluator

    population, targets = cell.population, cell.target_indices
    images = {
        "attack": np.stack([cell.images(target) for target in targets]),
        "heldout": _heldout(population, len(targets)),
        "noise": _rng(population, "noise").random((len(targets), *_shape(population)), dtype=np.float32),
    }
    confidence = {name: np.empty(each.shape[:2]) for name, each in images.items()}
    for row, target in enumerate(targets):
        model = population.model(target)
        for name, each in images.items():
            confidence[name][row] = _confidence(model, each[row], population.device)
    if _applies_to_untrained(cell):
        images["untrained"], confidence["untrained"] = _untrained(cell)

    judge_of, pool = evaluator.of(population), population.dataset.role("pool")
    detector, detect = _detector(population)
    members = np.stack([population.members(target) for target in targets])
    judge = _Judge(judge_of, detect, pool, judge_of.features(pool.x), members)
    found = {name: judge(each, confidence[name]) for name, each in images.items()}
    absent = ~np.isin(np.arange(population.dataset.classes), population.dataset.role("test").y)
    for values in found["heldout"].values.values():
        values[:, absent] = np.nan

    numbers = {name: likeness.summarise(each.values) for name, each in found.items()}
    recognised = found["attack"].values["accuracy"].mean(axis=0)
    result = Reconstruction(
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
    return result, raw | {name: images[name] for name in ("untrained",) if name in images}


def _applies_to_untrained(cell: Cell) -> bool:
    """Return whether the attack uses a network, and nothing that an untrained one does not have."""
    needs = cell.needs
    return not needs.synthetic and (needs.model or needs.query or needs.answers != "none")


def _untrained(cell: Cell) -> tuple[Array, Array]:
    """Return the attack's images from untrained networks, and their confidences.

    They do not depend on the defense, so they are computed once for a run.
    """
    models = cell.population.models if cell.needs.shadows != "none" else UNTRAINED
    population = replace(cell.population, defense=Untrained(), models=models)
    nets = replace(cell, population=population, attacked=population, shadows=(population,))
    targets = range(min(UNTRAINED, len(cell.target_indices)))
    known = (population, population.dataset.fingerprint, population.store.root, cell.queries, targets)
    key = (*known, type(cell.attack), spec(cell.attack))
    if key not in _found:
        found = _of_untrained(nets, targets)
        while len(_found) >= FOUND:
            _found.pop(next(iter(_found)))
        _found[key] = found
    return _found[key]


def _of_untrained(nets: Cell, targets: range) -> tuple[Array, Array]:
    from privbench.population.releases import make

    population = nets.population
    jobs = population.missing([nets.queries])
    if damaged := made_again(jobs):
        _log.warning("%s", damaged)
    for job in jobs:
        make(job, lambda _done, _stage: None)
    images = np.stack([nets.images(target) for target in targets])
    confident = [_confidence(population.model(each), images[each], population.device) for each in targets]
    return read_only(images), read_only(np.stack(confident))


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
