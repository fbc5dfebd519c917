"""One cell of the grid: an attack on every target of a population, as a record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import intervals, metrics, roc
from privbench.api import Needs
from privbench.claims import of_record as claims_of_record
from privbench.claims import stated
from privbench.costs import cost
from privbench.defenses.released import publishes
from privbench.errors import CellFailed
from privbench.failures import ENDS_THE_RUN, blamed
from privbench.provenance import component, data_of, environment, failure, now
from privbench.record import (
    PER_EXAMPLE_LIMIT,
    Canaries,
    PerExample,
    Record,
    Utility,
    images_sha256,
    scores_sha256,
    sealed,
)
from privbench.threat import threat_model

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from privbench.data import Dataset
    from privbench.evidence import Evidence
    from privbench.intervals import Estimate
    from privbench.population import Population

    Array = npt.NDArray[Any]

WITH_SHADOWS = 4
"""Models from which a target has shadows: its own pair is none."""
CALIBRATORS = 2
"""Shadow models on which the harness calibrates a threshold: a pair, so that each example is a member of one."""


@dataclass(frozen=True)
class Cell:
    """One (task, defense, attack), with the populations that its evidence comes from."""

    population: Population
    attack: Any
    queries: int
    targets: int | None
    attacked: Population
    """The same releases, asked about what the attack queries."""
    shadows: tuple[Population, ...]
    """Where shadows come from: one population for all targets, or one for each."""
    inapplicable: str = ""
    """Why the attack does not apply to this defense, whatever the settings."""
    impossible: str = ""
    """Why the attack must fail with these settings, as far as that is known before training."""

    @cached_property
    def needs(self) -> Needs:
        """The attack's threat model. Raises CellFailed where it is none."""
        return needs_of(self.attack)

    @property
    def reconstructs(self) -> bool:
        """Whether the attack makes images, not scores."""
        return hasattr(self.attack, "reconstruct")

    @property
    def sources(self) -> tuple[Population, ...]:
        """All populations whose releases the record tells of."""
        return (self.population, self.attacked, *self.shadows)

    def shadows_of(self, target: int) -> Population:
        """Return the population that one target's shadows come from."""
        return self.shadows[target if len(self.shadows) > 1 else 0]

    @property
    def target_indices(self) -> range:
        """The models that take their turn as the target."""
        return range(self.targets or self.population.models)


def score(
    cell: Cell, *, reason: Exception | None = None, command: str = "", report: Callable[[float], None] | None = None
) -> tuple[Record, dict[str, Array]]:
    """Attack every target of a cell; return its record, and its raw arrays.

    Those are what `selection.numbers` takes, or what `reconstruction.evaluate` returns. With a reason, or when the
    attack fails or does not apply, the record says so and there are none. report: hears the share done.
    """
    population, base = cell.population, _about(cell, command)
    if cell.inapplicable:
        return sealed(base, status="n/a", reason=cell.inapplicable), {}
    if reason is None and cell.impossible:
        reason = CellFailed(cell.impossible)
    if reason is not None:
        return sealed(base, **failure(reason)), {}
    try:
        if without := inapplicable(cell):
            return sealed(base, status="n/a", reason=without), {}
        utility, spent = _utility(population, cell.queries), cost(population)
        facts, claims = claims_of_record(stated(population))
        base = base.model_copy(update={"utility": utility, "cost": spent, "facts": facts, "claims": claims})
        found, raw = _reconstructed(cell) if cell.reconstructs else _membership(cell, report)
    except ENDS_THE_RUN:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever goes wrong here, SystemExit too, the other cells go on
        return sealed(base, **failure(error)), {}
    return sealed(base, **found), raw


def inapplicable(cell: Cell) -> str:
    """Return why an attack does not apply to the releases of a population, as far as they are made; else ""."""
    population = cell.population
    made = population.artifact(0) is not None
    if cell.needs.synthetic and (not publishes(population.defense) or (made and population.synthetic(0) is None)):
        return f"{population.defense.name} publishes no synthetic examples"
    if cell.reconstructs and not population.dataset.examples.is_image:
        return f"{population.task.name} holds tables: there is no image to reconstruct"
    return ""


def _membership(cell: Cell, report: Callable[[float], None] | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what a membership attack adds to a record, and its raw arrays."""
    member = np.stack([cell.population.members(target) for target in cell.target_indices])
    scores = np.empty(member.shape)
    for row, target in enumerate(cell.target_indices):
        scores[row] = _scores(cell, target)
        if report:
            report((row + 1) / len(scores))
    decisions, threshold = decide(cell, scores)
    dataset, seed = cell.population.dataset, cell.population.seed
    common = dataset.is_ordinary
    decided = None if decisions is None else decisions[:, common]
    found = {
        "metrics": metrics.evaluate(scores[:, common], member[:, common], decided, seed=seed),
        "canaries": _canaries(dataset, scores, member, seed),
        "findings": _findings(cell, scores, member),
        "threshold": threshold,
        "per_example": per_example(decisions, member),
        "scores_sha256": scores_sha256(scores, member),
    }
    raw = {"scores": scores, "member": member}
    raw |= {} if decisions is None else {"decisions": decisions}
    raw |= {"ordinary": common, "canary": dataset.is_canary} if len(dataset.canaries) else {}
    return found, raw


def _canaries(dataset: Dataset, scores: Array, member: Array, seed: int) -> Canaries | None:
    """Return what the scores tell of the canaries by themselves; None where the pool has none."""
    if not len(dataset.canaries):
        return None
    scores, member = scores[:, dataset.is_canary], member[:, dataset.is_canary]
    points = roc.operating_points(roc.Ranking.of(scores, member), metrics.FPRS, metrics.RESAMPLES, (seed, "canaries"))
    return Canaries(
        kind=dataset.canary_kind,
        count=len(dataset.canaries),
        tpr_at_fpr=points,
        auc=intervals.auc(scores, member),
    )


def _reconstructed(cell: Cell) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what a reconstruction attack adds to a record, and its raw arrays."""
    from privbench.reconstruction import evaluate

    found, raw = evaluate(cell, _evidence)
    return {"reconstruction": found, "scores_sha256": images_sha256(raw["images"])}, raw


def _scores(cell: Cell, target: int, *, calibrating_for: int | None = None) -> Array:
    """Return (examples,) scores of one target, or of a shadow posing as one while calibrating for a target."""
    evidence = _evidence(cell, target, calibrating_for)
    with blamed(cell.attack):
        scores = cell.attack.score(evidence)
    return metrics.check_scores(scores, (len(cell.population.dataset.pool),))


def needs_of(attack: Any) -> Needs:
    """Return an attack's threat model. Raises CellFailed where its `needs` fail, or are none."""
    with blamed(attack):
        needs = attack.needs
    if not isinstance(needs, Needs):
        raise CellFailed(f"{attack.name!r}: `needs` is {needs!r}; expected privbench.api.Needs, the threat model.")
    return needs


def without_shadows(attack: Any, models: int) -> str:
    """Return why an attack must fail in a population of so few models that no target has shadows; else ""."""
    if needs_of(attack).shadows == "none" or models >= WITH_SHADOWS:
        return ""
    return f"it needs shadow models, and {models} models leave none: use {WITH_SHADOWS} or more (--models)."


def without_decisions(attack: Any, models: int) -> str:
    """Return why an attack makes no decisions in a population of so few models; "" where it makes some."""
    needed = WITH_SHADOWS + (CALIBRATORS if needs_of(attack).shadows != "none" else 0)
    if models >= needed or threshold_of(attack) is not None:
        return ""
    return f"none: calibrating one takes {needed} models or more"


def threshold_of(attack: Any) -> float | None:
    """Return an attack's own threshold, None without one. Raises CellFailed where it fails or is no number."""
    with blamed(attack):
        threshold = getattr(attack, "threshold", None)
    return None if threshold is None else metrics.check_number(threshold, "threshold")


def _evidence(cell: Cell, target: int, calibrating_for: int | None = None) -> Evidence:
    shadows = cell.shadows_of(target if calibrating_for is None else calibrating_for)
    source = cell.attacked if calibrating_for is None else shadows
    exclude = () if calibrating_for is None else (calibrating_for,)
    return source.evidence(target, cell.needs, cell.queries, shadows, exclude)


def _findings(cell: Cell, scores: Array, member: Array) -> dict[str, Estimate]:
    """Return the attack's own numbers: the mean over targets, and what another target would change."""
    find = getattr(cell.attack, "findings", None)
    if find is None:
        return {}
    found: dict[str, list[float]] = {}
    for row, target in enumerate(cell.target_indices):
        with blamed(cell.attack):
            values = find(_evidence(cell, target), scores[row], member[row])
        for name, value in metrics.check_findings(values).items():
            found.setdefault(name, []).append(value)
    return {name: intervals.mean_of(values) for name, values in found.items()}


def decide(cell: Cell, scores: Array) -> tuple[Array | None, str]:
    """Return (targets, examples) decisions at the attacker's own threshold, and where that comes from."""
    natural = threshold_of(cell.attack)
    if natural is not None:
        return scores >= natural, f"the attack's own, {natural:g}"
    pairs = cell.population.models // 2
    missing = without_decisions(cell.attack, cell.population.models)
    if missing:
        return None, missing
    # Without shadows nothing depends on whom a model poses for, so that its scores are those it has as a target.
    alone = cell.needs.shadows == "none"
    known = dict(enumerate(scores)) if alone else {}
    decisions = []
    for row, target in enumerate(cell.target_indices):
        first = 2 * ((target // 2 + 1) % pairs)
        models = range(first, first + CALIBRATORS)
        for model in models if alone else ():
            if model not in known:
                known[model] = _scores(cell, model, calibrating_for=target)
        posing = np.concatenate(
            [known[model] if alone else _scores(cell, model, calibrating_for=target) for model in models]
        )
        truth = np.concatenate([cell.population.members(model) for model in models])
        decisions.append(scores[row] >= metrics.best_threshold(posing, truth))
    return np.stack(decisions), f"calibrated on {CALIBRATORS} shadow models"


def _about(cell: Cell, command: str) -> Record:
    """Return a record with everything but results."""
    population = cell.population
    try:
        needs = cell.needs
    except CellFailed:  # the record says so: see `score`
        needs = Needs(answers="none")
    return Record(
        family="reconstruction" if cell.reconstructs else "membership",
        task=component("task", population.task),
        data=data_of(population.dataset),
        defense=component("defense", population.defense),
        attack=component("attack", cell.attack),
        threat_model=threat_model(replace(needs, queries=cell.queries)),
        models=population.models,
        targets=len(cell.target_indices),
        shadows=population.models - 2 if needs.shadows != "none" else 0,
        seed=population.seed,
        salt=population.salt,
        device=population.device,
        status="ok",
        command=command,
        environment=environment(population.device),
        created=now(),
    )


def _utility(population: Population, queries: int) -> Utility:
    """Return accuracies on members, non-members of the pool, and test examples."""

    def correct(role: str) -> Array:
        labels = population.dataset.shared(role).y
        answers = (population.answers(index, queries, role).logits[:, 0] for index in range(population.models))
        return np.stack([logits.argmax(axis=-1) == labels for logits in answers])

    member = np.stack([population.members(index) for index in range(population.models)])
    pool, test = correct("pool"), correct("test")
    common = population.dataset.is_ordinary
    return Utility(
        train_accuracy=intervals.accuracy(pool[:, common], member[:, common]),
        nonmember_accuracy=intervals.accuracy(pool[:, common], ~member[:, common]),
        test_accuracy=intervals.accuracy(test),
        test_accuracy_sd=float(test.mean(axis=1).std(ddof=1)),
    )


def per_example(decisions: Array | None, member: Array) -> PerExample | None:
    """Return how often each example was flagged, of (targets, examples); None without decisions, or of large pools."""
    if decisions is None or member.shape[1] > PER_EXAMPLE_LIMIT:
        return None
    success = metrics.success(decisions, member)

    def trials(counts: Array) -> int | list[int]:
        return int(counts[0]) if (counts == counts[0]).all() else [int(count) for count in counts]

    return PerExample(
        member_hits=success.hits_in.tolist(),
        member_trials=trials(success.n_in),
        nonmember_hits=success.hits_out.tolist(),
        nonmember_trials=trials(success.n_out),
    )
