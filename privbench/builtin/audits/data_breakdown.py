"""Data breakdown and outlier effect: how additional training data change the losses of the original data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from privbench import seeds
from privbench.api import Measurement, component, option
from privbench.builtin.audits import losses, same_members, success_rates
from privbench.builtin.audits.loss_shifts import measured
from privbench.builtin.audits.privacy_levels import ATTACK
from privbench.builtin.defenses.valuing import scaled
from privbench.errors import CellFailed
from privbench.plugins import resolve
from privbench.stats import intervals, signals
from privbench.store import component_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples
    from privbench.population import Population


PAIRS = 3


@component
class DataBreakdown:
    """Whether a model at its capacity stops fitting members when it is trained on more of them.

    The members of the first release are split by class into a subset and the rest. The defense trains models on the
    subset, in pairs of two seeds, and models on all of the members. Breakdown: the latter do not fit the subset
    (accuracy below 95 %), and its losses rose, and changed by more than between seeds. Outlier effect: the losses on
    the subset did not change, and the mean loss on test examples fell. None: neither. With members=fixed the trainings
    are stored releases, as many pairs as --models says, and the rates are compared at which the subset is flagged.
    """

    name: ClassVar[str] = "data-breakdown"
    paper: ClassVar[str] = (
        "Fake data training and transform by CycleGAN (3.1.3, Fig. 2), which describes both; the criteria are ours"
    )

    members: same_members.Members = option(
        "halves", "train within the audit, or (fixed) make a population on all members and one on the subset"
    )
    fraction: float = option(0.5, "share of a release's members in the subset", gt=0, lt=1)
    pairs: int = option(PAIRS, "pairs of seeds; each takes two trainings on the subset and one on all members", ge=2)
    steps: Literal["epochs", "equal"] = option(
        "epochs", "train on all members for the recipe's epochs, or for as many steps as on the subset"
    )

    def compared(self, population: Population) -> Sequence[Population]:
        """Return the population of trainings on the subset, with members=fixed; else none.

        Raises CellFailed for options that do not go with it, or a fraction that leaves no subset.
        """
        if not population.fixed:
            return ()
        if self.pairs != PAIRS:
            raise CellFailed(f"pairs={self.pairs} has no effect with members=fixed: --models gives the pairs.")
        if self.steps != "epochs":
            raise CellFailed("steps=equal trains with another recipe, and releases (members=fixed) with the task's.")
        return (self._on_subset(population),)

    def _on_subset(self, population: Population) -> Population:
        """Return the population of trainings on the subset, two for each on all members."""
        part = replace(population, fixed=self.fraction, models=2 * population.models)
        self._check(int(part.members(0).sum()), int(population.members(0).sum()))
        return part

    def _check(self, subset: int, everyone: int) -> None:
        if not 0 < subset < everyone:
            raise CellFailed(f"fraction={self.fraction:g} of {everyone} members leaves no proper subset.")

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Train missing models, and compare; docs/audits.md explains the values.

        Raises CellFailed for a fraction that leaves no subset, Diverged.
        """
        if population.fixed:
            return self._of_releases(self._on_subset(population), population, ctx)
        everyone = population.dataset.role("pool")[population.members(0)]
        subset = everyone[stratified(everyone.y, self.fraction, ctx.rng("subset"))]
        self._check(len(subset), len(everyone))
        recipe = population.blueprint.recipe
        if self.steps == "equal":
            recipe = scaled(recipe, len(subset) / len(everyone))
        longer = replace(population.blueprint, recipe=recipe)
        plan = [(population.blueprint, subset)] * 2 * self.pairs + [(longer, everyone)] * self.pairs
        runs = []
        for run, (task, examples) in enumerate(plan):
            # A separate seed, not a stage: intermediate results of a defense, such as a GAN, are shared between stages.
            share = (run / len(plan), (run + 1) / len(plan))
            own = replace(ctx.stage("training", run, share), seed=seeds.derive(ctx.seed, "training", run))
            runs.append(trained(population, task, examples, subset, own))
        return measured(runs, self.pairs, len(subset), len(everyone), ctx)

    def _of_releases(self, part: Population, population: Population, ctx: Context) -> Measurement:
        """Compare releases; part: trained on the subset."""
        inside = part.members(0)
        runs = [read(each, index, inside) for each in (part, population) for index in range(each.models)]
        found = measured(runs, population.models, int(inside.sum()), int(population.members(0).sum()), ctx)
        return with_rates(found, part, population)


def with_rates(found: Measurement, part: Population, population: Population) -> Measurement:
    """Add how often the modified entropy flags the examples of the subset, and those of no training, to a measurement.

    part: trained on the subset; population: on all members
    """
    attack, subset, outside = resolve("attack", ATTACK), part.members(0), ~population.members(0)
    values, tables, arrays = dict(found.values), dict(found.tables), dict(found.arrays)
    for name, each in (("alone", part), ("more", population)):
        decisions = same_members.attacked(each, attack)[0].decisions
        inside = decisions[:, subset]
        values[f"r_{name}"] = intervals.accuracy(inside)
        values[f"r_out_{name}"] = intervals.accuracy(decisions[:, outside])
        arrays[f"R_{name}"] = inside.mean(axis=0)
        bins = success_rates.histogram(inside.sum(axis=0), np.full(inside.shape[1], len(inside)))
        columns = {"R": bins[:, 0], "subset": bins[:, 1].astype(int), "subset by chance": bins[:, 2].round(1)}
        where = "the subset" if each is part else "all members"
        tables[f"How often examples of the subset are flagged by models of {where}"] = success_rates.rows_of(columns)
    return Measurement(values, tables, arrays, (*found.notes, *same_members.NOTES))


def read(population: Population, index: int, subset: Array) -> dict[str, Array]:
    """Return one release's losses on the subset, (n,) bool of the pool, and the test set, and correctness."""
    pool, test = (population.answers(index, 1, role) for role in ("pool", "test"))
    right = [each.logits[:, 0].argmax(axis=1) == each.labels for each in (pool, test)]
    loss = [-each.signal(signals.log_confidence)[:, 0] for each in (pool, test)]
    return {"subset": loss[0][subset], "test": loss[1], "correct": right[0][subset], "test_correct": right[1]}


def trained(
    population: Population, task: Blueprint, examples: Examples, subset: Examples, ctx: Context
) -> dict[str, Array]:
    """Train on examples, or load the stored results; return losses on the subset and the test set, and correctness."""
    from privbench.learn import predict

    test = population.dataset.role("test")

    def make(inner: Context) -> dict[str, Array]:
        release = population.defense.fit(task, examples, inner)
        logits = [predict(release.model, part.x, device=inner.device) for part in (subset, test)]
        return {
            "subset": losses.cross_entropy(logits[0], subset.y),
            "test": losses.cross_entropy(logits[1], test.y),
            "correct": logits[0].argmax(axis=1) == subset.y,
            "test_correct": logits[1].argmax(axis=1) == test.y,
        }

    key = {"defense": component_key(population.defense), "subset": subset.fingerprint, "epochs": task.recipe.epochs}
    return ctx.kept("data-breakdown", examples, key, make)


def stratified(labels: Array, fraction: float, rng: np.random.Generator) -> Array:
    """Return sorted rows of a random subset with the given fraction of every class of (n,) labels, rounded."""
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[: round(fraction * int((labels == label).sum()))]
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(chosen))
