"""Utility matrix: training on private or generated examples, tested on either."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench import seeds
from privbench.api import Measurement, component, option
from privbench.builtin.audits.resampling import over_examples
from privbench.errors import CellFailed
from privbench.population import publishes
from privbench.stats import intervals
from privbench.stats.intervals import Estimate, clopper_pearson, estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples
    from privbench.population import Population

PRIVATE, GENERATED = "private", "generated"
SOURCES = (PRIVATE, GENERATED)
CELLS = {"p1": (PRIVATE, PRIVATE), "p2": (PRIVATE, GENERATED), "p3": (GENERATED, PRIVATE), "p4": (GENERATED, GENERATED)}
"""Each cell's row and column: (test data, training data)."""
CONVERGED = "converged"
RESAMPLES = 2000
SEEDS = 3


@component
class UtilityMatrix:
    """Utility matrix: the accuracy lost by training on generated instead of private examples.

    p1 is the accuracy of students trained and tested on private examples, p2 of those trained on generated and tested
    on private ones; the accuracy loss is p1 - p2. p3 and p4 are the same two, tested on generated examples. Private
    training examples are a release's members, private test examples the test role; a class-stratified fifth of the
    generated ones is held out for testing. The two students of a release have the same architecture, initial weights
    and number of optimiser steps; logistic regressions are trained until convergence.
    """

    name: ClassVar[str] = "utility-matrix"
    paper: ClassVar[str] = "none: a talk's slides that define accuracy loss; its bootstrap is ours"

    releases: int = option(SEEDS, "number of releases evaluated, each by two students with their own seeds", ge=1)
    student: Literal["task", "logistic", "cnn", "mlp"] = option("task", "model to train: the task's model, or another")

    def compared(self, population: Population) -> Sequence[Population]:
        """Return no further populations. Raises CellFailed for a defense that publishes no synthetic examples."""
        if not publishes(population.defense):
            raise CellFailed(f"{population.defense.name} publishes no generated examples to train a student on.")
        return ()

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return p1 to p4 and the accuracy loss. Raises CellFailed without generated examples."""
        indices = [index for index in range(population.models) if index not in population.skipped][: self.releases]
        judged = [
            self._judge(
                population, index, ctx.stage("students", index, (place / len(indices), (place + 1) / len(indices)))
            )
            for place, index in enumerate(indices)
        ]
        return self._measurement(indices, judged, ctx.rng("bootstrap"))

    def _judge(self, population: Population, index: int, ctx: Context) -> dict[str, Mapping[str, Array]]:
        """Train one release's two students; return, by training data, who is right on which test data."""
        from privbench.builtin.audits.students import split

        generated = population.synthetic(index)
        if generated is None:
            raise CellFailed(f"{population.defense.name} publishes no generated examples to train a student on.")
        training, held_out = split(generated)
        if not len(training) or not len(held_out):
            raise CellFailed(
                f"release {index} publishes {len(generated)} generated examples, too few to hold some out."
            )
        pool, tests = population.dataset.role("pool"), {PRIVATE: population.dataset.role("test"), GENERATED: held_out}
        members = pool[population.members(index)]
        ctx = dataclasses.replace(
            ctx, seed=seeds.derive(ctx.seed, "release", index)
        )  # the same initial weights for both
        options = {"student": self.student, "steps of": len(members), "tested on": held_out.fingerprint}

        def student(examples: Examples, share: tuple[float, float]) -> dict[str, Array]:
            def make(inner: Context) -> dict[str, Array]:
                return answers(self.student, population.blueprint, examples, tests, inner, like=len(members))

            return ctx.kept("student", examples, options, make, share=share)

        return {PRIVATE: student(members, (0.0, 0.5)), GENERATED: student(training, (0.5, 1.0))}

    def _measurement(
        self, indices: Sequence[int], judged: Sequence[Mapping[str, Mapping[str, Array]]], rng: np.random.Generator
    ) -> Measurement:
        right = {name: [each[train][test] for each in judged] for name, (test, train) in CELLS.items()}
        p1, p2 = np.stack(right["p1"]), np.stack(right["p2"])
        cells = {name: _accuracy(name, correct) for name, correct in right.items()}
        losses = (p1.astype(float) - p2).mean(axis=1)
        values = {
            **cells,
            "accuracy_loss": paired_bootstrap(p1, p2, rng),
            "accuracy_loss_over_releases": intervals.mean(losses, -1.0, 1.0, of=p1.shape[1]),
            "releases": len(indices),
            "student": self.student,
        }
        by_release = [
            {"release": index, **{name: float(right[name][at].mean()) for name in CELLS}, "accuracy loss": float(loss)}
            for at, (index, loss) in enumerate(zip(indices, losses, strict=True))
        ]
        notes = [] if len(indices) >= SEEDS else [f"{len(indices)} releases are few: other seeds may say otherwise."]
        stopped = sum(not bool(student[CONVERGED]) for each in judged for student in each.values())
        if stopped:
            notes.append(f"{stopped} of {2 * len(judged)} logistic regressions were stopped before they converged.")
        return Measurement(
            values, {"Accuracy": matrix(cells), "By release": by_release}, {"p1_right": p1, "p2_right": p2}, notes
        )


def answers(
    student: Any, task: Blueprint, examples: Examples, tests: Mapping[str, Examples], ctx: Context, *, like: int
) -> dict[str, Array]:
    """Train a student; return (n,) bool for each set of test examples, whether it is right, and if it converged."""
    from privbench.builtin.audits.students import fit
    from privbench.learn import predict

    model = fit(student, task, examples, ctx, like=like)
    right = {name: predict(model, test.x, device=ctx.device).argmax(axis=1) == test.y for name, test in tests.items()}
    return {**right, CONVERGED: np.array(getattr(model, "converged", True))}


def matrix(cells: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """Return the table as the slides lay it: rows are test data, columns training data."""
    rows = []
    for test in SOURCES:
        row = {train: cells[name].value for name, (row, train) in CELLS.items() if row == test}
        rows.append({"tested on": test, **{f"trained on {train}": value for train, value in row.items()}})
    return rows


def paired_bootstrap(p1: Array, p2: Array, rng: np.random.Generator) -> Estimate:
    """Return the mean of p1 - p2 over (releases, examples) bool, correct or not, with a percentile interval.

    Test examples are drawn with replacement, each with the predictions of all students; releases are fixed. If all
    examples are alike, resampling shows no variation: the interval is then the possible effect of one more example.
    """
    differences = (p1.astype(float) - p2).mean(axis=0)
    n, value = len(differences), float(differences.mean())
    if (differences == differences[0]).all():
        slack = (1 + abs(value)) * clopper_pearson(0, n)[1]
        return estimate(value, max(-1.0, value - slack), min(1.0, value + slack), n)
    return over_examples(lambda rows: float(differences[rows].mean()), n, rng, reason="", resamples=RESAMPLES)


def _accuracy(name: str, right: Sequence[Array]) -> Estimate:
    """Return the share of correct predictions; releases share private test examples, but not generated ones."""
    if CELLS[name][0] == PRIVATE:
        return intervals.accuracy(np.stack(right))
    pooled = np.concatenate(right)
    return intervals.rate(pooled.astype(int), np.ones(len(pooled), dtype=int))
