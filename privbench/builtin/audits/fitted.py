"""Accuracies and losses of models on the examples that they were trained on: as they are, and as augmented."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from privbench import seeds
from privbench.api import Context
from privbench.builtin.audits import losses
from privbench.stats import intervals

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Recipe
    from privbench.population import Population
    from privbench.stats.intervals import Estimate

DIRECT = ("ce", "relaxloss")
"""Defenses that pass members and context to the training loop as they are, so that its copies can be made again."""


def of_population(
    population: Population, by_role: dict[str, list[Array]], rng: np.random.Generator
) -> dict[str, Estimate]:
    """Return accuracies and mean losses on members and test examples; on augmented members, if the task augments.

    by_role: the losses, from `losses.of_population`

    Augmented members are the copies on which a model was trained, if the recipe makes copies, else one new draw of
    each member's augmentation in each model.
    """
    from privbench.learn import augments

    values = {**accuracies(population), "train_loss": _mean(by_role["member"]), "test_loss": _mean(by_role["test"])}
    recipe = population.blueprint.recipe
    return {**values, **_augmented(population, recipe, rng)} if augments(recipe) else values


def accuracies(population: Population) -> dict[str, Estimate]:
    """Return the accuracies on members and on test examples."""
    models = range(population.models)
    member = np.stack([population.members(index) for index in models])
    pool, test = (np.stack([_right(population, index, role) for index in models]) for role in ("pool", "test"))
    return {"train_accuracy": intervals.accuracy(pool, member), "test_accuracy": intervals.accuracy(test)}


def augmented(population: Population, index: int, recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return whether one model is right (copies, members) and its losses, on its augmented members."""
    from privbench.learn import predict, static, to_inputs

    examples = population.dataset.role("pool")[population.members(index)]
    own = seeds.derive(population.seed, "release", *seeds.salted(population.salt), index)
    new = Context(seed=int(rng.integers(2**63)))
    drawing = (Context(seed=own) if recipe.copies else new).generator("batches")
    once = recipe if recipe.copies else replace(recipe, copies=1)
    x = static(to_inputs(examples.x), once, drawing).permute(0, 2, 3, 1).contiguous().numpy()
    labels = np.tile(examples.y, once.copies)
    logits = predict(population.model(index), x, device=population.device)
    right, loss = logits.argmax(axis=1) == labels, losses.cross_entropy(logits, labels)
    return right.reshape(once.copies, -1), loss


def _augmented(population: Population, recipe: Recipe, rng: np.random.Generator) -> dict[str, Estimate]:
    if recipe.copies and population.defense.name not in DIRECT:
        none = intervals.unavailable("the copies that this defense was trained on are not known")
        return {"augmented_accuracy": none, "augmented_loss": none}
    hits = trials = np.zeros(len(population.dataset.pool), dtype=np.int64)
    means = []
    for index in range(population.models):
        right, loss = augmented(population, index, recipe, rng)
        member = population.members(index)
        hits, trials = hits.copy(), trials + member * len(right)
        hits[member] += right.sum(axis=0)
        means.append(loss)
    return {"augmented_accuracy": intervals.rate(hits, trials), "augmented_loss": _mean(means)}


def _mean(each: list[Array]) -> Estimate:
    """Return the mean over models of each one's mean loss."""
    return intervals.mean(np.array([loss.mean() for loss in each]), least=0.0)


def _right(population: Population, index: int, role: str) -> Array:
    answers = population.answers(index, 1, role)
    return np.asarray(answers.logits[:, 0].argmax(axis=1) == answers.labels)
