"""SELENA: self-distillation from sub-models, each queried only on examples it was not trained on (Tang et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Release, Traits, component, option
from privbench.errors import CellFailed, DataError

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples


@component
class Selena:
    """SELENA: distillation from sub-models, where only those trained without an example label it.

    Each example draws `held_out` of the `models` sub-models; it is excluded from their training, and the mean of their
    confidences is its soft label (Split-AI), fixed before the released model is trained on it, with the task's
    augmentation and without the true labels. Split-AI itself is never released: an attacker would query it on its
    members.

    Differences from the authors' code: the soft cross-entropy uses log-softmax, where their logarithm of a rounded 0
    gives NaN; every model is that of its last epoch, where theirs is the best of all epochs on examples that their
    attack then uses as non-members; and each sub-model is standardised by its own examples. Equal inputs draw the same
    sub-models, so that duplicates are excluded too. A modified copy that a data stage adds next to its original is a
    different example, and may be included.
    """

    name: ClassVar[str] = "selena"
    paper: ClassVar[str] = (
        "Tang et al., Mitigating Membership Inference Attacks by Self-Distillation Through a Novel Ensemble "
        "Architecture, USENIX Security 2022; code inspire-group/MIAdefenseSELENA"
    )

    models: int = option(25, "K, the number of sub-models", ge=2)
    held_out: int = option(
        10, "L, sub-models per example that are trained without it and label it; fewer than models", ge=1
    )

    def __post_init__(self) -> None:
        """Refuse options with which sub-models have no training examples."""
        if self.held_out >= self.models:
            raise ValueError(
                f"option 'held_out' = {self.held_out} must be below models = {self.models}, "
                f"or every sub-model is kept from every example"
            )

    @property
    def traits(self) -> Traits:
        """It trains sub-models, then one model more; nothing synthetic is published."""
        return Traits(relative_cost=self._trainings, publishes_synthetic=False)

    @property
    def _trainings(self) -> float:
        """Each of K sub-models learns from (K - L) / K of the examples; then one model from all."""
        return float(self.models - self.held_out + 1)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train the sub-models, then the released model on their soft labels.

        Facts: `train_loss`, its mean cross-entropy with the true labels; `split_ai_accuracy`, the accuracy of the soft
        labels; `smallest_subset`, the smallest share of the examples in the training of a sub-model (the mean is 1 - L
        / K). Raises Diverged, or DataError if a sub-model has no examples.
        """
        import torch

        from privbench.learn import mean_loss, train

        split = 1 - 1 / self._trainings
        kept = ctx.kept(
            "split-ai",
            examples,
            {"models": self.models, "held_out": self.held_out},
            lambda inner: split_ai(task, examples, inner, models=self.models, held_out=self.held_out),
            share=(0.0, split),
        )
        soft = kept["soft_labels"]
        distillation = ctx.stage("distillation", share=(split, 1.0))
        model = train(task, examples, distillation, targets=torch.from_numpy(soft))
        facts = {
            "train_loss": mean_loss(model, examples, device=ctx.device),
            "split_ai_accuracy": float((soft.argmax(axis=1) == examples.y).mean()),
            "smallest_subset": float(kept["subset_sizes"].min() / len(examples)),
        }
        return Release(model, facts=facts)


def split_ai(task: Blueprint, examples: Examples, ctx: Context, *, models: int, held_out: int) -> dict[str, Array]:
    """Train the sub-models and return their predictions.

    soft_labels: (n, classes) float64, the mean over an example's `held_out` sub-models of their softmax, on the
        unmodified example
    subset_sizes: (models,) int64, the number of training examples of each

    Each sub-model is queried once and discarded.
    """
    from privbench.learn import predict, train

    alike = twins(examples.x)
    answering = draw(len(examples), models, held_out, ctx.rng("answering"))[alike]
    total = np.zeros((len(examples), task.classes))
    sizes = np.zeros(models, dtype=np.int64)
    for k in range(models):
        rows, asked = learnt(answering, k), np.flatnonzero(answering[:, k])
        if not len(rows):
            raise DataError(
                f"selena: {len(examples)} examples leave sub-model {k + 1} of {models} none to learn from; "
                f"it needs more examples, or a smaller held_out."
            )
        stage = ctx.stage(f"sub-model {k + 1}", k, share=(k / models, (k + 1) / models))
        model, sizes[k] = train(task, examples[rows], stage), len(rows)
        refuse_seen(k, rows, asked, alike)
        if len(asked):
            total[asked] += softmax(predict(model, examples.x[asked], device=ctx.device))
    return {"soft_labels": total / held_out, "subset_sizes": sizes}


def draw(n: int, models: int, held_out: int, rng: np.random.Generator) -> Array:
    """Return (n, models) bool: for each example, the `held_out` sub-models, drawn without replacement, to label it."""
    order = rng.permuted(np.tile(np.arange(models), (n, 1)), axis=1)
    return order < held_out


def learnt(answering: Array, k: int) -> Array:
    """Return the training rows of sub-model k: those that it does not label."""
    return np.flatnonzero(~answering[:, k])


def refuse_seen(k: int, rows: Array, asked: Array, alike: Array) -> None:
    """Raise CellFailed if sub-model k, trained on `rows`, would label its own training examples: a bug.

    The defense rests on this, so it is checked each time, on the rows that were used in training and not on the draw
    that they came from.
    """
    seen = asked[np.isin(alike[asked], alike[rows])]
    if len(seen):
        raise CellFailed(
            f"selena: sub-model {k + 1} has seen {len(seen)} of the {len(asked)} examples that it answers for, such as "
            f"example {seen[0]}; nothing is released. Please report this as a bug of privbench."
        )


def twins(x: Array) -> Array:
    """Return (n,) int64: for each row the first row with the same input, usually itself."""
    from privbench.data import duplicated

    first = np.arange(len(x))
    again = np.flatnonzero(duplicated(x))
    if len(again):
        rows = x[again].reshape(len(again), -1)
        _, place, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        first[again] = again[place[which.reshape(-1)]]
    return first


def softmax(logits: Array) -> Array:
    """Return the softmax of logits (n, classes), in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
