"""Validation transfer: whether generated examples rank hyperparameters as real examples do.

Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, 2018 (1803.03148), section 5.3.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench import seeds
from privbench.api import Measurement, component, option
from privbench.builtin.audits.resampling import over_examples, spearman
from privbench.builtin.audits.settings import MOST, grid
from privbench.errors import BadOption, CellFailed, Diverged
from privbench.population import publishes
from privbench.stats import intervals
from privbench.stats.intervals import Estimate, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples
    from privbench.population import Population

GENERATED, VALIDATION, TEST = range(3)
"""Columns of the losses: held-out generated examples, the real validation role, the real test role."""
COEFFICIENTS = ("pearson", "spearman")
FEW = 20
FEWEST, SHORTEST = 4, 3
"""Least number of configurations, and of epochs of a run, for a correlation."""


@component
class ValidationTransfer:
    """Validation transfer: whether configurations with a low loss on generated examples have one on real examples.

    Students with many configurations are trained on generated examples, as if there were no others. Each is validated
    on the held-out fifth of the generated examples, and on the real validation role; the correlation is that of the two
    cross-entropies. Over configurations: at the end of training, interval by resampling configurations. Over epochs:
    within each run, then averaged, interval by resampling runs, because the epochs of a run are not independent; a
    logistic regression has no epochs. The paper does not say which of the two its ranges of correlations are.
    `real_pearson` and `real_spearman` are the agreement of two sets of real examples, validation and test role, on the
    same students: an upper limit for generated ones. A wide grid correlates easily, because its worst configurations
    are bad everywhere; the accuracies of the selected students show whether the best one is found.
    """

    name: ClassVar[str] = "validation-transfer"
    paper: ClassVar[str] = (
        "Triastcyn & Faltings, Generating Artificial Data for Private Deep Learning, arXiv 1803.03148, section 5.3"
    )

    configurations: int = option(
        24, "number of configurations; the same ones for the same number and student", ge=FEWEST, le=MOST
    )
    student: Literal["task", "logistic", "cnn", "mlp"] = option("mlp", "model to train with each configuration")
    release: int = option(0, "release whose generated examples are evaluated", ge=0)

    def compared(self, population: Population) -> Sequence[Population]:
        """Return no further populations. Raises CellFailed for a defense that publishes no synthetic examples."""
        self._check_release(population)
        if not publishes(population.defense):
            raise CellFailed(f"{population.defense.name} publishes no generated examples to validate on.")
        return ()

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return correlations over configurations and over epochs. Raises CellFailed without generated examples."""
        from privbench.builtin.audits.students import split

        self._check_release(population)
        generated = population.synthetic(self.release)
        if generated is None:
            raise CellFailed(f"{population.defense.name} publishes no generated examples to validate on.")
        training, held_out = split(generated)
        if not len(training) or not len(held_out):
            raise CellFailed(f"release {self.release} publishes {len(generated)} generated examples, too few to split.")
        tests = (held_out, population.dataset.role("validation"), population.dataset.role("test"))
        tried = grid(self.student, self.configurations, population.blueprint.recipe)
        ctx = dataclasses.replace(ctx, seed=seeds.derive(ctx.seed, "release", self.release))
        runs = []
        for place, settings in enumerate(tried):
            stage = ctx.stage("student", place, (place / len(tried), (place + 1) / len(tried)))
            runs.append(self._student(population.blueprint, settings, stage, training=training, tests=tests))
        return self._measurement(tried, runs, tests, ctx)

    def _check_release(self, population: Population) -> None:
        if self.release >= population.models or self.release in population.skipped:
            raise BadOption(f"release={self.release}: there are {population.models} models, counted from 0.")

    def _student(
        self,
        task: Blueprint,
        settings: Mapping[str, Any],
        ctx: Context,
        *,
        training: Examples,
        tests: Sequence[Examples],
    ) -> dict[str, Array] | None:
        """Return the result of `run`, from the store if present; None if the training diverges."""

        def make(inner: Context) -> dict[str, Array]:
            return run(self.student, task, settings, inner, training=training, tests=tests)

        options = {"student": self.student, **settings, "validated on": tests[GENERATED].fingerprint}
        try:
            return ctx.kept("validated student", training, options, make)
        except Diverged:
            return None

    def _measurement(
        self,
        tried: Sequence[Mapping[str, Any]],
        runs: Sequence[Mapping[str, Array] | None],
        tests: Sequence[Examples],
        ctx: Context,
    ) -> Measurement:
        kept = [each for each in runs if each is not None]
        if not kept:
            raise CellFailed("the training of every student diverged; try a task with a lower lr.")
        last = np.array([each["losses"][-1] for each in kept])
        real, by_epoch = last[:, VALIDATION], [_over_epochs(each) for each in runs]
        values: dict[str, Any] = {
            **_correlations("", last[:, GENERATED], real, ctx),
            **_correlations("real_", last[:, TEST], real, ctx),
            **_epoch_values(np.array([each for each in by_epoch if each]).reshape(-1, 2), ctx),
            "accuracy_selected_on_generated": _selected(kept, last[:, GENERATED]),
            "accuracy_selected_on_real": _selected(kept, real),
            "configurations": len(kept),
            "generated_examples": len(tests[GENERATED]),
            "validation_examples": len(tests[VALIDATION]),
            "student": self.student,
        }
        rows = [_row(*each) for each in zip(tried, runs, by_epoch, strict=True)]
        return Measurement(values, {"Settings": rows}, _arrays(kept), self._notes(runs))

    def _notes(self, runs: Sequence[Mapping[str, Array] | None]) -> list[str]:
        notes, diverged = [], sum(each is None for each in runs)
        stopped = sum(each is not None and not bool(each["converged"]) for each in runs)
        if len(runs) - diverged < FEW:
            notes.append(f"{len(runs) - diverged} settings are few for a correlation; take {FEW} or more.")
        if diverged:
            notes.append(f"{diverged} of {len(runs)} trainings diverged, and are left out.")
        if stopped:
            notes.append(f"{stopped} of {len(runs)} logistic regressions were stopped before they converged.")
        return notes


def run(
    student: Any,
    task: Blueprint,
    settings: Mapping[str, Any],
    ctx: Context,
    *,
    training: Examples,
    tests: Sequence[Examples],
) -> dict[str, Array]:
    """Train one student; return losses (epochs, 3) after each epoch, `right` (n,) bool on the test role, `converged`.

    A logistic regression counts as one epoch.
    """
    from privbench.builtin.audits.students import fit
    from privbench.learn import mean_loss, predict

    losses: list[list[float]] = []

    def watch(model: nn.Module) -> None:
        losses.append([mean_loss(model, each, device=ctx.device) for each in tests])

    own, fields = dict(settings), {field.name for field in dataclasses.fields(task.recipe)}
    recipe = dataclasses.replace(task.recipe, **{name: own.pop(name) for name in fields & own.keys()})
    model = fit(student, task, training, ctx, recipe=recipe, watch=watch, **own)
    right = predict(model, tests[TEST].x, device=ctx.device).argmax(axis=1) == tests[TEST].y
    return {"losses": np.array(losses), "right": right, "converged": np.array(getattr(model, "converged", True))}


def correlate(a: Array, b: Array) -> tuple[float, float]:
    """Return Pearson's and Spearman's correlation of (n,) numbers; nan if either are all equal."""
    x, y = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.square(x).sum() * np.square(y).sum())
    if np.ptp(a) == 0 or np.ptp(b) == 0 or scale == 0:
        return np.nan, np.nan
    return float(np.clip(x @ y / scale, -1, 1)), float(np.clip(spearman(a[None], b[None])[0, 0], -1, 1))


def _correlations(prefix: str, a: Array, b: Array, ctx: Context) -> dict[str, Estimate]:
    if len(a) < FEWEST:
        return {prefix + name: unavailable(f"fewer than {FEWEST} settings are left", len(a)) for name in COEFFICIENTS}

    def coefficient(which: int) -> Callable[[Array], float]:
        return lambda rows: correlate(a[rows], b[rows])[which]

    return {
        prefix + name: over_examples(coefficient(which), len(a), ctx.rng(prefix + name), reason="all losses are equal")
        for which, name in enumerate(COEFFICIENTS)
    }


def _over_epochs(student: Mapping[str, Array] | None) -> tuple[float, float] | None:
    if student is None or len(student["losses"]) < SHORTEST:
        return None
    found = correlate(student["losses"][:, GENERATED], student["losses"][:, VALIDATION])
    return found if np.isfinite(found[0]) else None


def _epoch_values(found: Array, ctx: Context) -> dict[str, Estimate | float | None]:
    """Return mean, lowest and highest of each correlation over epochs, given them for (runs, 2)."""
    if len(found) < FEWEST:
        reason = f"fewer than {FEWEST} runs have {SHORTEST} epochs"
        return {f"epoch_{name}": unavailable(reason, len(found)) for name in COEFFICIENTS}

    def average(which: int) -> Callable[[Array], float]:
        return lambda rows: float(found[rows, which].mean())

    values: dict[str, Estimate | float | None] = {}
    for which, name in enumerate(COEFFICIENTS):
        rng = ctx.rng(f"epoch_{name}")
        values[f"epoch_{name}"] = over_examples(average(which), len(found), rng, reason="")
        values[f"epoch_{name}_lowest"] = float(found[:, which].min())
        values[f"epoch_{name}_highest"] = float(found[:, which].max())
    return values


def _selected(runs: Sequence[Mapping[str, Array]], losses: Array) -> Estimate:
    """Return the real test accuracy of the student with the lowest loss."""
    return intervals.accuracy(runs[int(losses.argmin())]["right"][None])


def _row(
    settings: Mapping[str, Any], student: Mapping[str, Array] | None, by_epoch: tuple[float, float] | None
) -> dict[str, Any]:
    generated, validation, test = (None, None, None) if student is None else map(float, student["losses"][-1])
    return {
        **{name: "/".join(map(str, value)) if isinstance(value, tuple) else value for name, value in settings.items()},
        "generated loss": generated,
        "validation loss": validation,
        "test loss": test,
        "test accuracy": None if student is None else float(student["right"].mean()),
        "Pearson over epochs": None if by_epoch is None else by_epoch[0],
    }


def _arrays(runs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return (configurations,) losses for a scatter plot, and (configurations, epochs, 3) curves, nan after the end."""
    longest = max(len(each["losses"]) for each in runs)
    curves = np.full((len(runs), longest, 3), np.nan)
    for at, each in enumerate(runs):
        curves[at, : len(each["losses"])] = each["losses"]
    last = np.array([each["losses"][-1] for each in runs])
    return {
        "generated_loss": last[:, GENERATED],
        "validation_loss": last[:, VALIDATION],
        "test_loss": last[:, TEST],
        "loss_curves": curves,
    }
