"""Cell of the grid: an attack, the attacked population, and the sources of its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.contracts.abilities import HasThreshold
from privbench.contracts.attack import ReconstructionAttack
from privbench.contracts.needs import Needs
from privbench.errors import CellFailed, InvalidScores, blamed
from privbench.population.evidence import evidence_of
from privbench.population.traits import publishes
from privbench.stats import metrics

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence
    from privbench.population.population import Population

WITH_SHADOWS = 4
"""Least number of models with shadows for a target: its own pair is excluded."""
CALIBRATORS = 2
"""Number of shadow models for calibration: a pair, so that each example is a member of one."""


@dataclass(frozen=True)
class Cell:
    """One (task, defense, attack), with the populations that provide its evidence."""

    population: Population
    attack: Any
    queries: int
    targets: int | None
    attacked: Population
    """The same releases, with the queries of the attack."""
    shadows: tuple[Population, ...]
    """Source of shadows: one population for all targets, or one for each."""
    inapplicable: str = ""
    """Why the attack does not apply to this defense, for any settings."""
    impossible: str = ""
    """Why the attack must fail with these settings, if known before training."""

    @cached_property
    def needs(self) -> Needs:
        """The attack's threat model. Raises CellFailed if it is invalid."""
        return needs_of(self.attack)

    @property
    def reconstructs(self) -> bool:
        """Whether the attack makes images, not scores."""
        return isinstance(self.attack, ReconstructionAttack)

    @property
    def sources(self) -> tuple[Population, ...]:
        """All populations whose releases the record describes."""
        return (self.population, self.attacked, *self.shadows)

    def shadows_of(self, target: int) -> Population:
        """Return the population of one target's shadows."""
        return self.shadows[target if len(self.shadows) > 1 else 0]

    @property
    def target_indices(self) -> range:
        """The models used as targets."""
        return range(self.targets or self.population.models)

    def evidence(self, target: int, *, calibrating_for: int | None = None) -> Evidence:
        """Return the evidence about one target, or about a shadow as a pseudo-target to calibrate for a target."""
        shadows = self.shadows_of(target if calibrating_for is None else calibrating_for)
        source = self.attacked if calibrating_for is None else shadows
        exclude = () if calibrating_for is None else (calibrating_for,)
        return evidence_of(source, target, self.needs, self.queries, shadows, exclude=exclude)

    def scores(self, target: int, *, calibrating_for: int | None = None) -> Array:
        """Return (examples,) scores for one target, or for a pseudo-target to calibrate for a target."""
        evidence = self.evidence(target, calibrating_for=calibrating_for)
        with blamed(self.attack):
            scores = self.attack.score(evidence)
        return metrics.check_scores(scores, (len(self.population.dataset.pool),))

    def images(self, target: int) -> Array:
        """Return (classes, height, width, channels) float32 in [0, 1]: the attack's reconstructions from one target.

        Raises InvalidScores if it returns no valid images.
        """
        dataset = self.population.dataset
        evidence = self.evidence(target)
        with blamed(self.attack):
            images = self.attack.reconstruct(evidence, np.arange(dataset.classes))
        return check_images(images, (dataset.classes, *dataset.examples.x.shape[1:]))

    def decisions(self, scores: Array) -> tuple[Array | None, str]:
        """Return (targets, examples) decisions at the attacker's threshold, and the source of the threshold."""
        return decide(self, scores)


def decide(cell: Cell, scores: Array) -> tuple[Array | None, str]:
    """Return (targets, examples) decisions at the attacker's threshold, and the source of the threshold.

    It is apart from Cell because records name the code that makes decisions, not that of evidence (`provenance.py`).
    """
    natural = threshold_of(cell.attack)
    if natural is not None:
        return scores >= natural, f"the attack's own, {natural:g}"
    pairs = cell.population.models // 2
    missing = without_decisions(cell.attack, cell.population.models)
    if missing:
        return None, missing
    # Without shadows the scores of a pseudo-target do not depend on the target, so they are its scores as a target.
    alone = cell.needs.shadows == "none"
    known = dict(enumerate(scores)) if alone else {}
    decided = []
    for row, target in enumerate(cell.target_indices):
        first = 2 * ((target // 2 + 1) % pairs)
        models = range(first, first + CALIBRATORS)
        for model in models if alone else ():
            if model not in known:
                known[model] = cell.scores(model, calibrating_for=target)
        posing = np.concatenate(
            [known[model] if alone else cell.scores(model, calibrating_for=target) for model in models]
        )
        truth = np.concatenate([cell.population.members(model) for model in models])
        decided.append(scores[row] >= metrics.best_threshold(posing, truth))
    return np.stack(decided), f"calibrated on {CALIBRATORS} shadow models"


def inapplicable(cell: Cell) -> str:
    """Return why an attack does not apply to the releases of a population made so far; else ""."""
    population = cell.population
    if cell.needs.synthetic and not (publishes(population.defense) and may_publish(population)):
        return f"{population.defense.name} publishes no synthetic examples"
    if cell.reconstructs and not population.dataset.examples.is_image:
        return f"{population.task.name} holds tables: there is no image to reconstruct"
    return ""


def may_publish(population: Population) -> bool:
    """Return whether the first release publishes synthetic examples, or is still to be made."""
    return not population.sound([0]) or population.synthetic(0) is not None


def needs_of(attack: Any) -> Needs:
    """Return an attack's threat model. Raises CellFailed if its `needs` fail or are invalid."""
    with blamed(attack):
        needs = attack.needs
    if not isinstance(needs, Needs):
        raise CellFailed(f"{attack.name!r}: `needs` is {needs!r}; expected privbench.api.Needs, the threat model.")
    return needs


def without_shadows(attack: Any, models: int) -> str:
    """Return why an attack must fail in a population with too few models for shadows; else ""."""
    if needs_of(attack).shadows == "none" or models >= WITH_SHADOWS:
        return ""
    return f"it needs shadow models, and {models} models leave none: use {WITH_SHADOWS} or more (--models)."


def without_decisions(attack: Any, models: int) -> str:
    """Return why an attack makes no decisions in a population with too few models; else ""."""
    needed = WITH_SHADOWS + (CALIBRATORS if needs_of(attack).shadows != "none" else 0)
    if models >= needed or threshold_of(attack) is not None:
        return ""
    return f"none: calibrating one takes {needed} models or more"


def threshold_of(attack: Any) -> float | None:
    """Return an attack's own threshold, None without one. Raises CellFailed if it fails or is not a number."""
    with blamed(attack):
        threshold = attack.threshold if isinstance(attack, HasThreshold) else None
    return None if threshold is None else metrics.check_number(threshold, "threshold")


def check_images(images: Any, shape: tuple[int, ...]) -> Array:
    """Return an attack's images as float32. Raises InvalidScores with the problem if they are invalid."""
    array = np.asarray(images)
    if array.shape != shape:
        raise InvalidScores(f"images have shape {array.shape}; expected {shape}.")
    if array.dtype.kind != "f":
        raise InvalidScores(f"images have dtype {array.dtype}; expected float32.")
    if not np.isfinite(array).all():
        raise InvalidScores(f"{int((~np.isfinite(array)).sum())} of {array.size} pixels are not finite.")
    if array.min() < 0 or array.max() > 1:
        raise InvalidScores(f"pixels run from {array.min():.3g} to {array.max():.3g}; expected 0 to 1.")
    return array.astype(np.float32)
