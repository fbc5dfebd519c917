"""Canaries: pool examples that represent the most exposed ones, fixed before any attack (Aerni et al. 2024).

An average over the pool says little about the most exposed examples. Canaries simulate these, and their TPR is reported
next to that of the other examples; each is a member of half of the models, like any example of the pool.

    clean        unmodified examples: the control, with the same results as the others
    mislabelled  with a wrong label, which a model can only memorise
    ood          out of distribution: the example's own values in its own random order, with its label
    duplicate    a mislabelled copy of another pool example, its twin, with independent membership: a model learns its
                 prediction for the copy from two examples (the choice of Aerni et al. for SELENA)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from privbench.data.dataset import Dataset, Examples
from privbench.errors import BadOption
from privbench.seeds import numpy_generator

if TYPE_CHECKING:
    from privbench.aliases import Array

Kind: TypeAlias = Literal["clean", "mislabelled", "ood", "duplicate"]
SEED = 0
MOST = 0.5
"""Maximum share of the pool for canaries and their twins: the rest is the population."""


def plant(dataset: Dataset, kind: Kind, count: int) -> Dataset:
    """Return the dataset with `count` canaries of a kind in its pool; the same ones on every call.

    Their selection depends on the size of the pool alone, not on kind, seed or model; those of a smaller count are
    among those of a larger one. Raises BadOption if the pool is too small.
    """
    rows, twins = _chosen(dataset, kind, count)
    x, y = dataset.examples.x.copy(), dataset.examples.y.copy()
    if kind == "duplicate":
        x[rows], y[rows] = x[twins], y[twins]
    if kind in ("mislabelled", "duplicate"):
        y[rows] = _wrong(y[rows], dataset.classes)
    if kind == "ood":
        x[rows] = _scrambled(x[rows])
    examples = Examples(x, y, dataset.examples.augment)
    return replace(dataset, examples=examples, canaries=rows, canary_kind=kind, twins=twins)


def _chosen(dataset: Dataset, kind: Kind, count: int) -> tuple[Array, Array]:
    """Return the rows of canaries and of their twins, in corresponding order."""
    pool, each = dataset.pool, 2 if kind == "duplicate" else 1
    most = int(MOST * len(pool)) // each
    if count > most:
        raise BadOption(
            f"{dataset.name}: canary_count={count}, but a pool of {len(pool)} leaves room for {most} of kind {kind!r}."
        )
    order = pool[numpy_generator(SEED, "canaries").permutation(len(pool))]
    return order[:count], order[::-1][:count] if kind == "duplicate" else order[:0]


def _wrong(y: Array, classes: int) -> Array:
    """Return another label for each, uniformly."""
    shift = numpy_generator(SEED, "canaries", "labels").integers(1, classes, len(y))
    return np.asarray((y + shift) % classes, dtype=y.dtype)


def _scrambled(x: Array) -> Array:
    """Return each input with its own values in a random order: whole pixels for images."""
    places = int(np.prod(x.shape[1:3])) if x.ndim > 2 else x.shape[1]  # noqa: PLR2004 - (n, features) is a table
    flat = x.reshape(len(x), places, -1)
    order = numpy_generator(SEED, "canaries", "places").permuted(np.tile(np.arange(places), (len(x), 1)), axis=1)
    return np.take_along_axis(flat, order[:, :, np.newaxis], axis=1).reshape(x.shape)
