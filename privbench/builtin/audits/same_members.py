"""Trainings of one set with other seeds (members=fixed), and what a threshold attack says of its examples.

Models that have the same members can be no shadows of each other, so the threshold of each is its own: the one with the
best balanced accuracy between its members and the reference examples, as in "Fake data training and transform by
CycleGAN". It takes the memberships to be known, which no attacker knows: rates are a description, never an attack's.
The other half of the pool, which no model was trained on and no threshold was fitted on, tells the false positives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from privbench.builtin.audits.attacked import Attacked
from privbench.errors import CellFailed
from privbench.options import spec
from privbench.stats import signals
from privbench.stats.metrics import best_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Examples
    from privbench.population import Population

Members: TypeAlias = Literal["halves", "fixed"]
Threshold: TypeAlias = Literal["global", "class"]
HELP = "each model on its own half of the pool, or (the paper) all on the same half, with other seeds"

SIGNALS = {
    "m-entropy": signals.neg_modified_entropy,
    "confidence": signals.log_confidence,
    "entropy": signals.neg_entropy,
}
"""Signals of the threshold attacks, higher = likelier member."""
NOTES = (
    (
        "All models have the same members: R of an example is a rate of true positives, no example has an A, and what "
        "flags everything has R = 1; compare with R_out, of examples that none was trained on."
    ),
    (
        "Each model's threshold is the best between its own members and the reference examples, which no attacker can "
        "know: these rates are no attack's, and no leaderboard has them."
    ),
)


def check(attack: Any) -> None:
    """Raise CellFailed for an attack that has no signal to fit a threshold on, or options without effect here."""
    if attack.name not in SIGNALS:
        raise CellFailed(f"members=fixed takes a threshold attack ({', '.join(SIGNALS)}), not {attack.name!r}.")
    if attack != type(attack)(thresholds=attack.thresholds):
        raise CellFailed(
            f"members=fixed has no shadows: of {spec(attack)!r}, only the option thresholds has an effect."
        )


def attacked(population: Population, attack: Any) -> tuple[Attacked, Attacked | None]:
    """Return distances above each model's threshold and the decisions, of the pool and of generated examples.

    Generated examples are None where there are none, or not the same for all models. Raises CellFailed for an
    unsuitable attack, or without reference examples.
    """
    check(attack)
    member, models = population.members(0), range(population.models)
    made = shared_examples([population.synthetic(index) for index in models])
    rows, generated = [], []
    for index in models:
        above, above_made = _above(population, attack, index, made)
        rows.append(above)
        generated.append(above_made)
    scores = np.stack(rows)
    found = Attacked(scores, scores >= 0, np.tile(member, (population.models, 1)))
    if made is None:
        return found, None
    of_made = np.stack(generated)
    return found, Attacked(of_made, of_made >= 0, np.ones(of_made.shape, dtype=bool))


def shared_examples(made: Sequence[Examples | None]) -> Examples | None:
    """Return the examples that all models generated; None if they differ, or there are none."""
    if any(each is None for each in made):
        return None
    known: list[Examples] = [each for each in made if each is not None]
    same = len({each.fingerprint for each in known}) == 1
    return known[0] if same and len(known[0]) else None


def above_threshold(
    scores: Array, labels: Array, member: Array, reference: tuple[Array, Array], thresholds: Threshold
) -> Array:
    """Return (n,) scores minus the best threshold between the members among them and the reference examples.

    member: (n,) bool
    reference: scores and labels of examples that are not members
    """
    fitted = np.concatenate([scores[member], reference[0]])
    its_labels = np.concatenate([labels[member], reference[1]])
    inside = np.arange(len(fitted)) < int(member.sum())
    return np.asarray(scores - _thresholds(fitted, its_labels, inside, labels, thresholds))


def _above(population: Population, attack: Any, index: int, made: Examples | None) -> tuple[Array, Array]:
    """Return one model's distances for the pool and for generated examples; the threshold is fitted on real ones."""
    from privbench.learn import predict

    signal = SIGNALS[attack.name]
    pool, reference = (population.answers(index, 1, role) for role in ("pool", "reference"))
    if not len(reference.labels):
        raise CellFailed("members=fixed fits thresholds on reference examples, but this task has none.")
    scores, labels, member = pool.signal(signal)[:, 0], pool.labels, population.members(index)
    if made is not None:
        logits = predict(population.model(index), made.x, device=population.device)
        scores = np.concatenate([scores, signal(logits[:, None], made.y)[:, 0]])
        labels = np.concatenate([labels, made.y])
        member = np.concatenate([member, np.zeros(len(made), dtype=bool)])
    known = (reference.signal(signal)[:, 0], reference.labels)
    above = above_threshold(scores, labels, member, known, attack.thresholds)
    return above[: len(pool.labels)], above[len(pool.labels) :]


def _thresholds(scores: Array, y: Array, member: Array, labels: Array, kind: Threshold) -> Array:
    """Return for each of `labels` (n,) the threshold with the best balanced accuracy of members against others.

    scores: signals (m,) of examples with labels y (m,)
    member: (m,) bool, the examples that were trained on
    kind: "class" fits one per class on that class alone; a class without members or without others uses the global one
    """
    tau = np.full(len(labels), best_threshold(scores, member))
    for label in np.unique(labels) if kind == "class" else ():
        inside = y == label
        if member[inside].any() and not member[inside].all():
            tau[labels == label] = best_threshold(scores[inside], member[inside])
    return tau
