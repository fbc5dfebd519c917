"""Hyperparameter configurations for students, the same on every call."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.api import Recipe

HIDDEN = ((16,), (64,), (256,), (64, 64), (256, 256), (128, 128, 128))
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
LENGTHS = (0.25, 0.5, 1.0)
WEIGHT_DECAYS = (0.0, 5e-4, 5e-3)
"""Layers of an MLP; factors of the recipe's learning rate and of its epochs; weight decays."""
MOST = len(LEARNING_RATES) * len(LENGTHS) * len(WEIGHT_DECAYS)
"""Number of configurations of a student with given layers."""
PENALTIES = (-4.0, 2.0)
"""Decimal logarithms of the first and the last C of logistic regression."""


def grid(student: str, count: int, recipe: Recipe) -> list[dict[str, Any]]:
    """Return `count` configurations: strengths of logistic regression in order, else a pseudo-random part of a grid.

    Keys: `c`; or `lr`, `epochs`, `weight_decay`, and `hidden` for an MLP. The configurations of a smaller count are the
    first of a larger one's, except for logistic regression. If a recipe has so few epochs that some lengths coincide,
    there are fewer.
    """
    if student == "logistic":
        return [{"c": float(f"{c:.4g}")} for c in np.logspace(*PENALTIES, count)]
    layers: Sequence[tuple[int, ...] | None] = HIDDEN if student == "mlp" else (None,)
    lengths = sorted({max(1, round(length * recipe.epochs)) for length in LENGTHS})
    points = list(itertools.product(layers, LEARNING_RATES, lengths, WEIGHT_DECAYS))
    order = seeds.numpy_generator(0, "settings").permutation(len(points))
    chosen = [points[at] for at in order[:count]]
    return [
        {
            **({} if hidden is None else {"hidden": hidden}),
            "lr": float(f"{rate * recipe.lr:.6g}"),
            "epochs": epochs,
            "weight_decay": decay,
        }
        for hidden, rate, epochs, decay in chosen
    ]
