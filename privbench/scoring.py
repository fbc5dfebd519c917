"""One cell of the grid: an attack on every target of a population, as a record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import intervals, metrics, roc
from privbench.claims import of_record as claims_of_record
from privbench.claims import stated
from privbench.costs import cost
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
    import numpy.typing as npt

    from privbench.data import Dataset
    from privbench.evidence import Evidence
    from privbench.intervals import Estimate
    from privbench.population import Population

    Array = npt.NDArray[Any]

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
    """Why the attack does not apply to this defense."""

    def shadows_of(self, target: int) -> Population:
        """Return the population that one target's shadows come from."""
        return self.shadows[target if len(self.shadows) > 1 else 0]

    @property
    def target_indices(self) -> range:
        """The models that take their turn as the target."""
        return range(self.targets or self.population.models)


def score(cell: Cell, *, reason: Exception | None = None, command: str = "") -> tuple[Record, dict[str, Array]]:
    """Attack every target of a cell; return its record, and its raw arrays.

    Those are what `selection.numbers` takes, or what `reconstruction.evaluate` returns. With a reason, or when the
    attack fails or does not apply, the record says so and there are none.
    """
    population, base = cell.population, _about(cell, command)
    if cell.inapplicable:
        return sealed(base, status="n/a", reason=cell.inapplicable), {}
    if reason is not None:
        return sealed(base, **failure(reason)), {}
    if cell.attack.needs.synthetic and population.synthetic(0) is None:
        return sealed(base, status="n/a", reason=f"{population.defense.name} publishes no synthetic examples"), {}
    if base.family == "reconstruction" and not population.dataset.examples.is_image:
        none = f"{population.task.name} holds tables: there is no image to reconstruct"
        return sealed(base, status="n/a", reason=none), {}
    utility, spent = _utility(population, cell.queries), cost(population)
    facts, claims = claims_of_record(stated(population))
    base = base.model_copy(update={"utility": utility, "cost": spent, "facts": facts, "claims": claims})
    measure = _reconstructed if base.family == "reconstruction" else _membership
    try:
        found, raw = measure(cell)
    except Exception as error:  # noqa: BLE001 - whatever an attack does wrong, the other cells go on
        return sealed(base, **failure(error)), {}
    return sealed(base, **found), raw


def _membership(cell: Cell) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what a membership attack adds to a record, and its raw arrays."""
    member = np.stack([cell.population.members(target) for target in cell.target_indices])
    scores = np.stack([_scores(cell, target) for target in cell.target_indices])
    decisions, threshold = _decide(cell, scores)
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
    scores = np.asarray(cell.attack.score(evidence), dtype=np.float64)
    metrics.check_scores(scores, (len(cell.population.dataset.pool),))
    return scores


def _evidence(cell: Cell, target: int, calibrating_for: int | None = None) -> Evidence:
    shadows = cell.shadows_of(target if calibrating_for is None else calibrating_for)
    source = cell.attacked if calibrating_for is None else shadows
    exclude = () if calibrating_for is None else (calibrating_for,)
    return source.evidence(target, cell.attack.needs, cell.queries, shadows, exclude)


def _findings(cell: Cell, scores: Array, member: Array) -> dict[str, Estimate]:
    """Return the attack's own numbers: the mean over targets, and what another target would change."""
    find = getattr(cell.attack, "findings", None)
    if find is None:
        return {}
    found: dict[str, list[float]] = {}
    for row, target in enumerate(cell.target_indices):
        for name, value in find(_evidence(cell, target), scores[row], member[row]).items():
            found.setdefault(name, []).append(value)
    return {name: intervals.mean_of(values) for name, values in found.items()}


def _decide(cell: Cell, scores: Array) -> tuple[Array | None, str]:
    """Return (targets, examples) decisions at the attacker's own threshold, and where that comes from."""
    natural = getattr(cell.attack, "threshold", None)
    if natural is not None:
        return scores >= natural, f"the attack's own, {natural:g}"
    pairs = cell.population.models // 2
    needed = 3 if cell.attack.needs.shadows != "none" else 2
    if pairs < needed:
        return None, f"none: calibrating one takes {2 * needed} models or more"
    # Without shadows nothing depends on whom a model poses for, so that its scores are those it has as a target.
    alone = cell.attack.needs.shadows == "none"
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
    needs = cell.attack.needs
    return Record(
        family="reconstruction" if hasattr(cell.attack, "reconstruct") else "membership",
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
        labels = population.dataset.role(role).y
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
