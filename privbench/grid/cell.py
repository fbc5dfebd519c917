"""Cell of the grid: an attack, the attacked population, and the sources of its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from privbench.contracts.abilities import HasThreshold
from privbench.contracts.attack import ReconstructionAttack
from privbench.contracts.needs import Needs
from privbench.errors import CellFailed, blamed
from privbench.executors import Call, inline
from privbench.grid import declared
from privbench.grid.attacking import Attacked, Attacking, attack, reconstruct
from privbench.population.evidence import parcel_of
from privbench.population.served import Server
from privbench.population.traits import publishes
from privbench.stats import metrics
from privbench.store.fingerprint import component_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array
    from privbench.executors import Port
    from privbench.population.evidence import Parcel
    from privbench.population.lending import Lending
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

    def __post_init__(self) -> None:
        """Refuse populations of one training set, whose targets and shadows would have the same members."""
        if any(each.fixed for each in self.sources):
            raise CellFailed("Models that have the same members are for audits; attacks need populations of halves.")

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

    def scores(self, target: int, *, calibrating_for: int | None = None) -> Array:
        """Return (examples,) scores for one target, or for a pseudo-target to calibrate for a target, computed here."""
        attacked: Attacked = self._here(attack, target, calibrating_for)
        scores: Array = attacked.scores[0]
        return scores

    def images(self, target: int) -> Array:
        """Return (classes, height, width, channels) float32 in [0, 1]: reconstructions from one target, made here.

        Raises InvalidScores if the attack returns no valid images.
        """
        images: Array = self._here(reconstruct, target, None)[0]
        return images

    def _here(self, function: Callable[[Attacking, Port], Any], target: int, calibrating_for: int | None) -> Any:
        parcel = self.parcel(target, calibrating_for=calibrating_for)
        server = self.server(target, calibrating_for=calibrating_for)
        job = Attacking(self.attack, (parcel,), 0, len(self.population.dataset.pool))
        outcome = inline.run(Call(function, job, answer=lambda request: server(request[1])))
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def calibrating(self) -> list[tuple[int, int]]:
        """Return the (target, shadow) pairs of pseudo-targets on which decisions are calibrated.

        Without shadows the scores of a pseudo-target do not depend on the target, so they are its scores as a target,
        or those for any target.
        """
        if self.reconstructs or threshold_of(self.attack) is not None:
            return []
        if without_decisions(self.attack, self.population.models):
            return []
        pairs = [(target, model) for target in self.target_indices for model in self.calibrators(target)]
        if self.needs.shadows != "none":
            return pairs
        first = {model: (target, model) for target, model in reversed(pairs) if model not in self.target_indices}
        return list(first.values())

    def calibrators(self, target: int) -> range:
        """Return the shadows that pose as targets to calibrate decisions on a target: the next pair."""
        first = 2 * ((target // 2 + 1) % (self.population.models // 2))
        return range(first, first + CALIBRATORS)

    def parcel(self, target: int, *, calibrating_for: int | None = None, lending: Lending | None = None) -> Parcel:
        """Return the evidence about one target, or about a shadow as a pseudo-target to calibrate for a target."""
        source, shadows, exclude = self._sources(calibrating_for, target)
        return parcel_of(source, target, self.needs, self.queries, shadows, exclude=exclude, lending=lending)

    def server(self, target: int, *, calibrating_for: int | None = None, **options: Any) -> Server:
        """Return what answers the requests of the attack on one target; options: as of `Server`."""
        source, shadows, exclude = self._sources(calibrating_for, target)
        owner = component_key(self.attack) if self.needs.training else None
        return Server(source, target, self.needs, shadows, exclude=exclude, owner=owner, **options)

    def _sources(self, calibrating_for: int | None, target: int) -> tuple[Population, Population, tuple[int, ...]]:
        """Return the population of a target, that of its shadows, and models excluded from them."""
        if calibrating_for is None:
            return self.attacked, self.shadows_of(target), ()
        shadows = self.shadows_of(calibrating_for)
        return shadows, shadows, (calibrating_for,)


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
    declared.check(attack)
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
    declared.check(attack)
    with blamed(attack):
        threshold = attack.threshold if isinstance(attack, HasThreshold) else None
    return None if threshold is None else metrics.check_number(threshold, "threshold")
