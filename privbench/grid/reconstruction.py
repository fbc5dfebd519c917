"""A reconstruction attack on every target of a population, judged beside three controls.

The controls have the same numbers: real images that no model was trained on say what a perfect guess of the class would
reach, noise what any image reaches, and the same attack on untrained nets what the attack itself brings along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench import seeds
from privbench.contracts.answers import read_only
from privbench.contracts.release import Release
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
"""Nets that the third control attacks: a pair."""
FOUND = 4
"""Third controls that a process keeps, for other defenses of the same run."""
_found: dict[Hashable, tuple[Array, Array]] = {}
CONFIDENT = 0.5
"""Confidence from which on the evaluation classifier counts as having found something."""


@component
class Untrained:
    """No training at all: the task's model as it is initialised. A control, never registered."""

    name: ClassVar[str] = "untrained"

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Return a fresh model; only the statistics that standardise inputs are the examples'."""
        from privbench.learn.training import classifier

        with ctx.seeded("init"):
            model = classifier(task)
        model.fit(examples.x)
        return Release(model)


@dataclass(frozen=True)
class _Judge:
    """What images are judged by: the same for the attack and for its controls."""

    evaluator: Evaluator
    detect: Detect
    pool: Examples
    features: Array
    """(n, d) of the pool, as the evaluator sees it."""
    members: Array
    """(targets, n) bool."""

    def __call__(self, images: Array, confidence: Array) -> likeness.Nearest:
        """Return the numbers of (targets, classes, height, width, channels), of which the models were so confident."""
        shape, flat = images.shape[:2], images.reshape(-1, *images.shape[2:])
        logits, features = self.evaluator.logits(flat), self.evaluator.features(flat).reshape(*shape, -1)
        found = likeness.compare(images, features, self.pool, self.features, self.members[: len(images)])
        recognised = logits.argmax(axis=1).reshape(shape) == np.arange(shape[1])
        seen = self.detect(flat, logits).reshape(shape)
        found.values.update(accuracy=recognised.astype(float), detected=seen.astype(float), confidence=confidence)
        return found


def evaluate(cell: Cell) -> tuple[Reconstruction, dict[str, Array]]:
    """Attack every target of a cell; return what the images are worth, and raw arrays.

    Those are, by target and class, `images` (float32), `real`, an image of a member, and `nearest`, the nearest member
    to the image (black without members); `untrained`, what the attack made of untrained nets; and under `values/` the
    numbers of each image by itself. Raises InvalidScores where the attack returns no images.
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
    """Return whether the attack sees a net at all, and nothing that one without training does not have."""
    needs = cell.needs
    return not needs.synthetic and (needs.model or needs.query or needs.answers != "none")


def _untrained(cell: Cell) -> tuple[Array, Array]:
    """Return what the attack makes of untrained nets, and how confident these are of it.

    No defense has a part in that, so that it is found out once for all of a run.
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
    for job in population.missing([nets.queries]):
        make(job, lambda _done, _stage: None)
    images = np.stack([nets.images(target) for target in targets])
    confident = [_confidence(population.model(each), images[each], population.device) for each in targets]
    return read_only(images), read_only(np.stack(confident))


def _confidence(model: Any, images: Array, device: str) -> Array:
    """Return (classes,): the probability that a model gives the class of each image."""
    from scipy.special import softmax

    from privbench.learn.inference import predict

    logits = predict(model, images, device=device).astype(np.float64)
    confident: Array = np.diagonal(softmax(logits, axis=1)).copy()
    return confident


def _heldout(population: Population, targets: int) -> Array:
    """Return one test image of each class for every target; black where a class has none."""
    test = population.dataset.role("test")
    rng, images = _rng(population, "heldout"), np.zeros((targets, *_shape(population)), np.float32)
    for label in range(images.shape[1]):
        rows = np.flatnonzero(test.y == label)
        if len(rows):
            images[:, label] = likeness.unit(test.x[rng.choice(rows, targets)])
    return images


def _detector(population: Population) -> tuple[str, Detect]:
    """Return what decides whether an image shows anything: in words, and as (images, evaluator's logits) -> bool."""
    from scipy.special import softmax

    if getattr(population.task, "depicts", "") == "faces":
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
