"""Data breakdown and outlier effect: how additional training data change the losses of the original data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from privbench import seeds
from privbench.api import Measurement, component, option
from privbench.builtin.audits import losses, resampling
from privbench.builtin.defenses.valuing import scaled
from privbench.errors import CellFailed
from privbench.stats import intervals
from privbench.store import component_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples
    from privbench.population import Population
    from privbench.stats.intervals import Estimate


FITTED = 0.95
"""Least accuracy on the subset of a model that fits it."""


class Losses(NamedTuple):
    """The losses of the same n examples under three trainings in each of several pairs, (pairs, n) float64 each."""

    one: Array
    """Trained on the subset."""
    other: Array
    """Trained on the subset with another seed: the difference between these two is the null."""
    more: Array
    """Trained on the subset and more."""


@component
class DataBreakdown:
    """Whether a model at its capacity stops fitting members when it is trained on more of them.

    The members of the first release are split by class into a subset and the rest. The defense trains models on the
    subset, in pairs of two seeds, and models on all of the members. Breakdown: the latter do not fit the subset
    (accuracy below 95 %), and its losses rose, and changed by more than between seeds. Outlier effect: the losses on
    the subset did not change, and the mean loss on test examples fell. None: neither.
    """

    name: ClassVar[str] = "data-breakdown"
    paper: ClassVar[str] = (
        "Fake data training and transform by CycleGAN (3.1.3, Fig. 2), which describes both; the criteria are ours"
    )

    fraction: float = option(0.5, "share of a release's members in the subset", gt=0, lt=1)
    pairs: int = option(3, "pairs of seeds; each takes two trainings on the subset and one on all members", ge=2)
    steps: Literal["epochs", "equal"] = option(
        "epochs", "train on all members for the recipe's epochs, or for as many steps as on the subset"
    )

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Train missing models, and compare; docs/audits.md explains the values.

        Raises CellFailed for a fraction that leaves no subset, Diverged.
        """
        everyone = population.dataset.role("pool")[population.members(0)]
        subset = everyone[stratified(everyone.y, self.fraction, ctx.rng("subset"))]
        if not 0 < len(subset) < len(everyone):
            raise CellFailed(f"fraction={self.fraction:g} of {len(everyone)} members leaves no proper subset.")
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

        def of(name: str) -> Losses:
            every = np.stack([run[name] for run in runs])
            alone = every[: 2 * self.pairs]
            return Losses(alone[0::2], alone[1::2], every[2 * self.pairs :])

        right = of("correct")
        fitted, alone = intervals.accuracy(right.more), intervals.accuracy(np.concatenate([right.one, right.other]))
        on_subset, on_test = compare(of("subset"), ctx.rng("members")), compare(of("test"), ctx.rng("test"))
        verdict = judge(fitted, on_subset, on_test["change"])
        values: dict[str, Estimate | float | int | str | None] = {
            "verdict": verdict,
            "subset": len(subset),
            "members": len(everyone),
            "trainings": len(plan),
            "fitted": fitted,
            "fitted_alone": alone,
            **{f"train_{name}": value for name, value in on_subset.items()},
            **{f"test_{name}": value for name, value in on_test.items()},
        }
        arrays = {
            f"loss_{name}_{which}": each for name in ("subset", "test") for which, each in of(name)._asdict().items()
        }
        rows = [_row(number, self.pairs, run) for number, run in enumerate(runs)]
        return Measurement(values, {"Trainings": rows}, arrays, notes(verdict, fitted, alone, on_subset["excess"]))


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


def compare(found: Losses, rng: np.random.Generator) -> dict[str, Estimate]:
    """Return how far more data changed the distribution of losses, and how far another seed does.

    w: Wasserstein-1 distance between losses when trained on the subset and on more, the mean over pairs and both seeds
    w_null: the same between the seeds
    excess: w - w_null
    change: of the mean loss, negative if it fell
    """

    def moved(rows: Array) -> Array:
        one, other, more = (np.sort(each[:, rows], axis=1) for each in found)
        return np.asarray((np.abs(one - more).mean(axis=1) + np.abs(other - more).mean(axis=1)) / 2)

    def null(rows: Array) -> Array:
        one, other = (np.sort(each[:, rows], axis=1) for each in found[:2])
        return np.asarray(np.abs(one - other).mean(axis=1))

    def change(rows: Array) -> Array:
        one, other, more = (each[:, rows].mean(axis=1) for each in found)
        return np.asarray(more - (one + other) / 2)

    n = found.one.shape[1]
    return {
        "w": over_both(moved, n, rng, least=0.0),
        "w_null": over_both(null, n, rng, least=0.0),
        "excess": over_both(lambda rows: moved(rows) - null(rows), n, rng),
        "change": over_both(change, n, rng),
    }


def over_both(
    statistic: Callable[[Array], Array], n: int, rng: np.random.Generator, *, least: float = -math.inf
) -> Estimate:
    """Return the mean over pairs of statistic(rows), (pairs,), on all n examples.

    The interval is the bootstrap's over examples and pairs, never narrower than Student's t over pairs: resampling
    three pairs underestimates their variation. least: lower bound of the statistic
    """
    values = statistic(np.arange(n))
    student, drawn = intervals.mean(values), []
    for _ in range(resampling.RESAMPLES):
        pairs = rng.integers(len(values), size=len(values))
        drawn.append(statistic(rng.integers(n, size=n))[pairs].mean())
    low, high = np.quantile(drawn, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2])
    ends = [end for end in (student.low, student.high) if end is not None]
    return intervals.estimate(float(values.mean()), max(min(low, *ends), least), max(high, *ends), n * len(values))


def judge(fitted: Estimate, subset: dict[str, Estimate], test_change: Estimate) -> str:
    """Return "breakdown", "outlier effect" or "none".

    fitted: accuracy on the subset after more data
    subset: its losses, from `compare`
    test_change: of the mean test loss

    Breakdown also requires that the mean loss rose: if more steps fit the subset better, its losses change as well.
    """

    def above(one: Estimate) -> bool:
        return one.low is not None and one.low > 0

    moved = above(subset["excess"])
    if moved and above(subset["change"]) and fitted.value is not None and fitted.value < FITTED:
        return "breakdown"
    fell = test_change.high is not None and test_change.high < 0
    return "outlier effect" if fell and not moved else "none"


def notes(verdict: str, fitted: Estimate, alone: Estimate, excess: Estimate) -> list[str]:
    """Return the notes on the verdict."""
    rule = (
        f"breakdown: accuracy on the subset below {FITTED:.0%} after more data, and train_excess and train_change "
        "above 0; outlier effect: train_excess not above 0, and test_change below; each with its whole interval."
    )
    said = [rule]
    if verdict == "none" and excess.low is not None and excess.low > 0:
        said.append("The losses of the subset moved further than another seed moves them; see train_change and fitted.")
    if alone.value is not None and alone.value < FITTED:
        said.append(
            f"Trained on the subset alone, models do not fit it either (accuracy {alone.value:.3f}): there is little "
            "to give up, and a verdict says little."
        )
    if fitted.low is not None and fitted.high is not None and fitted.low < FITTED <= fitted.high:
        said.append(f"The interval of the fitted share holds {FITTED:.0%}: its side of the line is open.")
    return said


def _row(number: int, pairs: int, run: dict[str, Array]) -> dict[str, Any]:
    small = number < 2 * pairs
    return {
        "trained on": "subset" if small else "all members",
        "pair": number // 2 if small else number - 2 * pairs,
        "loss on subset": intervals.rounded(float(run["subset"].mean()), 9),
        "accuracy on subset": intervals.rounded(float(run["correct"].mean()), 9),
        "test loss": intervals.rounded(float(run["test"].mean()), 9),
        "test accuracy": intervals.rounded(float(run["test_correct"].mean()), 9),
    }
