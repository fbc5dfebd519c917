"""Students: models trained to judge published examples by, of the task's architecture or of another kind.

    model = fit("task", task, examples, ctx)                      # the task's own model, by training.train
    model = fit("cnn", task, generated, ctx, like=len(members))   # as many optimiser's steps as on the members
    logits = predict(model, x, device=ctx.device)                 # a released model like any other

Triastcyn & Faltings (arXiv 1803.03148) train a convolutional student and a logistic regression on generated examples.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from privbench.builtin import models
from privbench.data import roles
from privbench.errors import DataError
from privbench.learn import Normalised, as_float, batch_sizes, to_inputs, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples, Recipe

Kind: TypeAlias = Literal["task", "logistic", "cnn", "mlp"]
HELD_OUT = 0.2
"""Share of generated examples that no student is trained on."""
UNSEEN = -50.0
"""Logit of a class without training examples; the highest of the others is never below 0."""
NEAR_EVEN = 0.05
"""Coefficient of variation of how often examples are used, below which unevenness is of no account."""
REPEATED_BYTES = 1 << 28
ITERATIONS = 1000
"""Of logistic regression at most; it converges in tens or hundreds."""


class Logistic(Normalised):
    """Multinomial logistic regression, as scikit-learn fitted it."""

    converged: bool = True
    """False where the optimiser was stopped before it had converged."""


def fit(
    kind: Kind,
    task: Blueprint,
    examples: Examples,
    ctx: Context,
    *,
    recipe: Recipe | None = None,
    hidden: tuple[int, ...] = (256,),
    c: float = 1.0,
    like: int | None = None,
    watch: Callable[[nn.Module], None] | None = None,
) -> nn.Module:
    """Train a student and return it: float32 inputs (images in [0, 1]) -> logits (batch, classes), in eval mode.

    kind: the task's own model, `models.cnn` or `models.mlp` with layers of `hidden` units, by the task's recipe or
    another; or scikit-learn's logistic regression of strength `c`. like: train for exactly as many steps as on so many
    examples (see `budget`); logistic regression has none, and goes on until it converges. watch: called with the model
    after each epoch, in its present state, which it must leave as it is.

    Raises BadOption where the model cannot take the inputs, DataError without examples, Diverged.
    """
    if kind == "logistic":
        with ctx.seeded("init"):  # torch draws a layer's first weights, though none of them stay
            model = _logistic(task, examples, c).to(ctx.device).eval()
        if watch:
            watch(model)
        return model
    recipe = recipe or task.recipe
    if like is not None:
        recipe, rows = budget(recipe, len(examples), like, ctx.rng("rows"), examples.x.nbytes)
        examples = examples if rows is None else examples[rows]
    if kind != "task":
        task = dataclasses.replace(task, build=lambda: models.build(kind, task.shape, task.classes, hidden=hidden))

    def ended(model: nn.Module, _epoch: int) -> bool:
        assert watch is not None
        watch(model)
        return False

    return train(task, examples, ctx, recipe=recipe, stop=ended if watch else None)


def steps(recipe: Recipe, n: int) -> int:
    """Return how many optimiser's steps `training.train` takes on n examples."""
    return recipe.epochs * _batches(recipe, n)


def budget(recipe: Recipe, n: int, like: int, rng: np.random.Generator, nbytes: int = 0) -> tuple[Recipe, Array | None]:
    """Return a recipe, and which of n examples make an epoch, with which training takes the steps of `like` examples.

    rows: (m,) int64, each example as often as any other or once more, sorted; None: all of them, once. The batch size,
    the peak and the shape of the learning rate's schedule, in steps, stay the same. Of all numbers of epochs that
    divide the steps, the largest that uses the examples about equally often is taken; where none does, the one that
    comes nearest. With fewer steps than examples fill, some are left out. Without repetition where n = like. nbytes:
    of the examples, which are not repeated beyond 256 MiB.
    """
    if n == like:
        return recipe, None
    total, plans = steps(recipe, like), []
    for epochs in range(total, 0, -1):
        if total % epochs:
            continue
        per = total // epochs
        m = _epoch(recipe, n, per)
        if m is not None and (m <= max(n, like) or m / n * nbytes <= REPEATED_BYTES):
            unevenness = _unevenness(m, n)
            plans.append((max(unevenness, NEAR_EVEN), -epochs, per, m))
    plans.append((max(_unevenness(like, n), NEAR_EVEN), -recipe.epochs, total // recipe.epochs, like))
    _, negative, per, m = min(plans)
    warmup = recipe.warmup * (total // recipe.epochs) / per
    rows = np.concatenate([np.tile(np.arange(n), m // n), rng.permutation(n)[: m % n]])
    return dataclasses.replace(recipe, epochs=-negative, warmup=warmup), np.sort(rows)


def split(generated: Examples) -> tuple[Examples, Examples]:
    """Return generated examples to train on, and a fifth of them, held out; class-stratified, always the same."""
    rows = roles.cut(generated.y, {"held out": HELD_OUT, "training": 1 - HELD_OUT}, "generated")
    return generated[rows["training"]], generated[rows["held out"]]


def _batches(recipe: Recipe, n: int) -> int:
    return len(batch_sizes(max(2, n * max(1, recipe.copies)), recipe.batch_size))  # one example is trained on twice


def _epoch(recipe: Recipe, n: int, per: int) -> int | None:
    """Return how many examples make an epoch of `per` batches: whole copies of n where they do, else full batches."""
    full = per * recipe.batch_size // max(1, recipe.copies)
    whole = full // n * n
    for m in (whole, whole + n, full):
        if m and _batches(recipe, m) == per:
            return m
    return None


def _unevenness(m: int, n: int) -> float:
    """Return the coefficient of variation of how often each of n examples is among m."""
    more = m % n / n
    return math.sqrt(more * (1 - more)) / (m / n)


def _logistic(task: Blueprint, examples: Examples, c: float) -> Logistic:
    """Fit scikit-learn's logistic regression on standardised inputs, and put it into a module."""
    if not len(examples):
        raise DataError("There are no examples to train on.")
    linear = nn.Linear(math.prod(task.shape), task.classes)
    model = Logistic(nn.Sequential(nn.Flatten(), linear), task.shape)
    model.fit(examples.x)
    x = torch.flatten(model.standardise(as_float(to_inputs(examples.x))), 1).double().numpy()
    present = np.unique(examples.y)
    weight, bias = np.zeros((task.classes, x.shape[1])), np.full(task.classes, UNSEEN)
    if len(present) == 1:
        bias[present] = 0.0
    else:
        weight[present], bias[present], model.converged = _regress(x, examples.y, c)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))
    return model


def _regress(x: Array, y: Array, c: float) -> tuple[Array, Array, bool]:
    """Return (classes, features) and (classes,) float64 that sum to 0 over the classes, and whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=c, max_iter=ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        regression.fit(x, y)
    stopped = any(issubclass(each.category, ConvergenceWarning) for each in caught)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the difference
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight - weight.mean(axis=0), bias - bias.mean(), not stopped
