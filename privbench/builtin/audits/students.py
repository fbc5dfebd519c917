"""Students: models trained on published examples to evaluate them, of the task's architecture or another one.

    model = fit("task", task, examples, ctx)                      # the task's own model, by training.train
    model = fit("cnn", task, generated, ctx, like=len(members))   # as many optimiser steps as on the members
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
"""Share of generated examples held out from all students."""
UNSEEN = -50.0
"""Logit of a class without training examples; the highest of the others is never below 0."""
NEAR_EVEN = 0.05
"""Negligible coefficient of variation of the number of uses per example."""
REPEATED_BYTES = 1 << 28
ITERATIONS = 1000
"""Maximum for logistic regression; it converges in tens or hundreds."""


class Logistic(Normalised):
    """Multinomial logistic regression, as fitted by scikit-learn."""

    converged: bool = True
    """False if the optimiser was stopped before convergence."""


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

    kind: the task's model, `models.cnn` or `models.mlp` with layers of `hidden` units, trained with the task's recipe
        or another; or scikit-learn's logistic regression of strength `c`
    like: train for exactly as many steps as on this number of examples (see `budget`); not for logistic regression,
        which is trained until convergence
    watch: called with the model after each epoch, which it must not change

    Raises BadOption if the model cannot take the inputs, DataError without examples, Diverged.
    """
    if kind == "logistic":
        with ctx.seeded("init"):  # torch draws initial weights, although all are overwritten
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
    """Return the number of optimiser steps of `training.train` on n examples."""
    return recipe.epochs * _batches(recipe, n)


def budget(recipe: Recipe, n: int, like: int, rng: np.random.Generator, nbytes: int = 0) -> tuple[Recipe, Array | None]:
    """Return a recipe, and the rows of n examples that make an epoch, to train for the steps of `like` examples.

    rows: (m,) int64, each example equally often or once more, sorted; None: all of them, once
    nbytes: size of the examples, which are not repeated beyond 256 MiB

    The batch size, the peak and the shape of the learning rate's schedule, in steps, do not change. Of all numbers of
    epochs that divide the steps, the largest that uses the examples about equally often is chosen; if none does, the
    one that comes closest. If the examples fill more than all steps, some are left out. No repetition if n = like.
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
    """Return generated examples for training, and a held-out fifth of them; class-stratified, always the same."""
    rows = roles.cut(generated.y, {"held out": HELD_OUT, "training": 1 - HELD_OUT}, "generated")
    return generated[rows["training"]], generated[rows["held out"]]


def _batches(recipe: Recipe, n: int) -> int:
    return len(batch_sizes(max(2, n * max(1, recipe.copies)), recipe.batch_size))  # a single example is repeated


def _epoch(recipe: Recipe, n: int, per: int) -> int | None:
    """Return the number of examples in an epoch of `per` batches: whole copies of n if possible, else full batches."""
    full = per * recipe.batch_size // max(1, recipe.copies)
    whole = full // n * n
    for m in (whole, whole + n, full):
        if m and _batches(recipe, m) == per:
            return m
    return None


def _unevenness(m: int, n: int) -> float:
    """Return the coefficient of variation of the number of uses of each of n examples among m."""
    more = m % n / n
    return math.sqrt(more * (1 - more)) / (m / n)


def _logistic(task: Blueprint, examples: Examples, c: float) -> Logistic:
    """Fit scikit-learn's logistic regression on standardised inputs, and return it as a module."""
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
    if len(weight) == 1:  # for two classes scikit-learn stores the difference
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight - weight.mean(axis=0), bias - bias.mean(), not stopped
