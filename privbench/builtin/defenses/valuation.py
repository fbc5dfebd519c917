"""Privacy levels: risky training examples, which an attack detects for every model, and safe ones.

After "Fake data training and transform by CycleGAN", section 3.2.

An ensemble is trained, the membership signal of each model is measured relative to that model's own threshold, and the
models vote. Nothing here is a defense; `transform` builds on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import option
from privbench.builtin.defenses.relaxloss import RelaxLoss, relax_loss
from privbench.data import concatenate
from privbench.errors import BadOption, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples, Recipe

Distance: TypeAlias = Literal["signed", "abs"]
Threshold: TypeAlias = Literal["global", "class"]

SAFE, VAGUE, RISKY = range(3)
LEVELS = ("safe", "vague", "risky")
"""Names of the privacy levels, at the positions of their numbers."""
BINS = (*((tenth / 10, (tenth + 1) / 10) for tenth in range(10)), (0.0, 0.25), (0.0, 0.5), (0.5, 1.0), (0.75, 1.0))
"""The bins of the overlap table, as fractions of a ranking from safe to risky."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ValuationOptions:
    """The options for assigning privacy levels. Each field is also an option of `transform`."""

    valuation: Literal["relaxloss", "ce"] = option("relaxloss", "loss of the valuing models")
    valuation_models: int = option(5, "valuing models, each with its own seeds", ge=1)
    valuation_steps: float = option(0.5, "steps of a valuing model, relative to the task's recipe on the members", gt=0)
    alpha: float = option(RelaxLoss().alpha, "with relaxloss: target level of the valuing models' loss", ge=0)
    valued: Literal["union", "real_only"] = option(
        "union", "training data of the valuing models; with real_only, generated examples are scored as non-members"
    )
    threshold: Threshold = option(
        "global", "one threshold per class (training against reference examples), or one for all"
    )
    distance: Distance = option(
        "signed", "rank by the signed distance above the threshold, or (the paper) the absolute one"
    )
    quantile: float = option(0.5, "share of its ranking that each model votes safe, and risky", gt=0, le=0.5)
    votes: int | None = option(None, "votes for a level, more than half of the models (none: all of them)", ge=1)

    def __post_init__(self) -> None:
        """Refuse votes that are no partition: an example must not be both safe and risky."""
        if self.votes is not None and not self.valuation_models < 2 * self.votes <= 2 * self.valuation_models:
            least = self.valuation_models // 2 + 1
            raise ValueError(
                f"option 'votes' = {self.votes} must lie in {least} to {self.valuation_models}, the number of "
                f"valuing models; half of them or fewer could call one example both safe and risky"
            )


def distances(
    task: Blueprint,
    members: Examples,
    fakes: Examples,
    ctx: Context,
    options: ValuationOptions,
    *,
    share: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """Return u (models, real + fake) float64: each model's signal minus its threshold, members first.

    The signal is minus the modified entropy; the threshold is the one with the best balanced accuracy between the
    model's training examples and the reference examples. Every model takes `valuation_steps` times as many steps as the
    task's recipe takes on the members alone, with the recipe's whole schedule: fewer epochs of more examples.
    Raises DataError without reference examples, Diverged.
    """
    if ctx.reference is None or not len(ctx.reference):
        raise DataError("Valuing examples takes reference examples, but this task has none.")
    union = concatenate(members, fakes)
    trained = len(union) if options.valued == "union" else len(members)
    shaping: dict[str, Any] = {
        "loss": options.valuation,
        "alpha": options.alpha if options.valuation == "relaxloss" else None,
        "models": options.valuation_models,
        "threshold": options.threshold,
        "trained": trained,
        "epochs": len(members) / trained * options.valuation_steps,
    }

    def make(inner: Context) -> dict[str, Array]:
        recipe, count = scaled(task.recipe, shaping["epochs"]), options.valuation_models
        stages = [inner.stage("model", model, (model / count, (model + 1) / count)) for model in range(count)]
        return {"u": np.stack([_value(task, union, stage, options, trained, recipe=recipe) for stage in stages])}

    return ctx.kept("valuation", union, shaping, make, share=share)["u"]


def scaled(recipe: Recipe, fraction: float) -> Recipe:
    """Return a recipe with fewer epochs, at least one, and a warm-up shortened by the same fraction."""
    epochs = max(1, round(recipe.epochs * fraction))
    return replace(recipe, epochs=epochs, warmup=recipe.warmup * epochs / recipe.epochs)


def _value(
    task: Blueprint, union: Examples, ctx: Context, options: ValuationOptions, trained: int, *, recipe: Recipe
) -> Array:
    """Train one valuing model on the first `trained` examples; return its distances (n,) for all of them."""
    from privbench.learn import cross_entropy, predict, train
    from privbench.stats import signals

    def relaxed(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        return relax_loss(logits, labels, relaxed=epoch % 2 == 0, alpha=options.alpha)

    relax, reference = options.valuation == "relaxloss", ctx.reference
    assert reference is not None
    loss, phase = (relaxed, lambda epoch: epoch % 2) if relax else (cross_entropy, None)
    net = train(task, union[:trained], ctx, loss=loss, phase=phase, recipe=recipe, drop_last=relax)
    everything = concatenate(union, reference)
    logits = predict(net, everything.x, device=ctx.device)
    scores = signals.neg_modified_entropy(logits[:, None], everything.y)[:, 0]
    rows = np.r_[:trained, len(union) : len(everything)]  # real_only omits the generated ones here
    tau = thresholds(scores[rows], everything.y[rows], rows < trained, union.y, options.threshold)
    return scores[: len(union)] - tau


def thresholds(scores: Array, y: Array, member: Array, labels: Array, kind: Threshold) -> Array:
    """Return for each of `labels` (n,) the threshold with the best balanced accuracy of members against others.

    scores: signals (m,) of examples with labels y (m,)
    member: (m,) bool, the examples that were trained on
    kind: "class" fits one per class on that class alone; a class without members or without others uses the global one
    """
    from privbench.stats.metrics import best_threshold

    tau = np.full(len(labels), best_threshold(scores, member))
    for label in np.unique(labels) if kind == "class" else ():
        inside = y == label
        if member[inside].any() and not member[inside].all():
            tau[labels == label] = best_threshold(scores[inside], member[inside])
    return tau


def ranks(u: Array, distance: Distance = "signed") -> Array:
    """Return (models, n) int64: the rank of each example for each model, 0 = safest.

    u: (models, n) from `distances`

    signed: by u, so that the safest is the least like a member; abs: by |u|, so that the safest is the one closest to
    the threshold (the paper's). Ties are broken by position.
    """
    order = np.argsort(np.abs(u) if distance == "abs" else u, axis=1, kind="stable")
    out = np.empty(u.shape, dtype=np.int64)
    np.put_along_axis(out, order, np.broadcast_to(np.arange(u.shape[1]), u.shape), axis=1)
    return out


def levels(places: Array, quantile: float = 0.5, votes: int | None = None) -> Array:
    """Return each example's privacy level (n,) int8: SAFE, VAGUE or RISKY.

    places: (models, n) from `ranks`

    A model votes safe for ranks below quantile * n and risky for those from (1 - quantile) * n; a level requires
    `votes` votes (None: all), and examples with neither are vague. Raises BadOption for a quantile or votes with which
    an example could be both.
    """
    models, n = places.shape
    needed = models if votes is None else votes
    if not 0 < quantile <= 1 / 2 or not models < 2 * needed <= 2 * models:
        raise BadOption(f"quantile={quantile:g} with {needed} of {models} votes makes no partition into levels.")
    safe = (places < quantile * n).sum(axis=0) >= needed
    risky = (places >= (1 - quantile) * n).sum(axis=0) >= needed
    return np.where(safe, SAFE, np.where(risky, RISKY, VAGUE)).astype(np.int8)


def overlap(places: Array, start: float, end: float) -> float:
    """Return the overlap ratio: of the examples in one bin of the rankings, the share that is in it for all models.

    places: (models, n) from `ranks`; the bin is start * n <= place < end * n

    The paper's eq. 1, with N (b_e - b_s) in whole examples, so that equal rankings give 1; nan for an empty bin.
    """
    n = places.shape[1]
    inside = (places >= start * n) & (places < end * n)
    size = int(inside[0].sum())
    return float(inside.all(axis=0).sum() / size) if size else float("nan")


def overlap_null(models: int, start: float, end: float) -> float:
    """Return the overlap ratio expected of independent rankings: (end - start)^(M - 1)."""
    return float((end - start) ** (models - 1))


def overlap_table(places: Array) -> Array:
    """Return (bins, 4) float64: start, end, overlap ratio and its null for each of BINS."""
    models = places.shape[0]
    return np.array([(*edges, overlap(places, *edges), overlap_null(models, *edges)) for edges in BINS])
