"""Valuing: models of a defense are trained, and a threshold attack measures each example's distance from its threshold.

After "Fake data training and transform by CycleGAN", section 3.2. Nothing here is a defense; `transform` builds on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, ConfigDict
from pydantic.dataclasses import dataclass

from privbench.api import Answers, Evidence, MembershipAttack, Needs, option
from privbench.builtin.attacks.threshold import ModifiedEntropy
from privbench.builtin.defenses.valuation import Distance
from privbench.data import concatenate
from privbench.errors import CellFailed, DataError
from privbench.options import spec
from privbench.plugins import NamedAttack, NamedDefense
from privbench.population import CrossEntropy
from privbench.store import component_key

if TYPE_CHECKING:
    from torch import nn

    from privbench.aliases import Array
    from privbench.api import Blueprint, Context, Examples, Recipe

MODIFIED_ENTROPY = ModifiedEntropy(thresholds="global")
"""The paper's attack, with one threshold for all: with one per class, distances would rank classes, not examples."""


def _by_threshold(attack: Any) -> Any:
    """Return a membership attack that is only given a model's answers. Raises ValueError for any other one.

    A valuing model is trained on all examples and has no shadows of its own: the threshold is fitted on itself.
    """
    from privbench.grid import needs_of, threshold_of, try_all

    try_all({"attack": [attack]})
    try:
        needs, threshold = needs_of(attack), threshold_of(attack)
    except CellFailed as error:
        raise ValueError(str(error)) from error
    plain = replace(needs, shadows="none") in (Needs(), Needs(answers="labels"))
    if (
        isinstance(attack, MembershipAttack)
        and plain
        and needs.shadows in ("none", "adaptive")
        and threshold is not None
    ):
        return attack
    raise ValueError(
        "must be a membership attack with a threshold of its own that sees a model's answers, one query per example, "
        "and nothing else, such as m-entropy"
    )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))
class ValuationOptions:
    """The options for assigning privacy levels. Each field is also an option of `transform`."""

    valuation: NamedDefense = option(CrossEntropy(), "defense that trains the valuing models, with its options")
    valued_by: Annotated[NamedAttack, AfterValidator(_by_threshold)] = option(
        MODIFIED_ENTROPY, "membership attack whose score above its threshold is the distance, with its options"
    )
    valuation_models: int = option(5, "valuing models, each with its own seeds", ge=1)
    valuation_steps: float = option(0.5, "steps of a valuing model, relative to the task's recipe on the members", gt=0)
    valued: Literal["union", "real_only"] = option(
        "union", "training data of the valuing models; with real_only, generated examples are scored as non-members"
    )
    distance: Distance = option(
        "signed", "rank by the signed distance above the threshold, or (the paper) the absolute one"
    )
    quantile: float = option(0.5, "share of its ranking that each model votes safe, and risky", gt=0, le=0.5)
    votes: int | None = option(None, "votes for a level, more than half of the models (none: all of them)", ge=1)
    measuring: int = option(1, "pairs of models, besides the valuing ones, that measure the transfer for facts", ge=0)

    def __post_init__(self) -> None:
        """Refuse votes that are no partition: an example must not be both safe and risky."""
        if self.votes is not None and not self.valuation_models < 2 * self.votes <= 2 * self.valuation_models:
            least = self.valuation_models // 2 + 1
            raise ValueError(
                f"option 'votes' = {self.votes} must lie in {least} to {self.valuation_models}, the number of "
                f"valuing models; half of them or fewer could call one example both safe and risky"
            )


class Valuer:
    """Trains models of the valuing defense, and measures examples by the valuing attack.

    members: number of real examples, for which the task's recipe counts its steps
    """

    def __init__(self, task: Blueprint, members: int, options: ValuationOptions) -> None:
        self.task, self.members, self.options = task, members, options

    def train(self, examples: Examples, ctx: Context) -> nn.Module:
        """Return a model that took `valuation_steps` times as many steps as the recipe takes on the members alone."""
        fraction = self.members / len(examples) * self.options.valuation_steps
        task = replace(self.task, recipe=scaled(self.task.recipe, fraction))
        model: nn.Module = self.options.valuation.fit(task, examples, ctx).model
        return model

    def measure(self, model: nn.Module, examples: Examples, member: Array, ctx: Context) -> tuple[Array, Array]:
        """Return scores above the threshold (n,) float64, and whether the model predicts the label (n,) bool.

        member: (n,) bool, whether the model was trained on each example
        """
        from privbench.learn import predict

        logits = predict(model, examples.x, device=ctx.device)
        u = judge(self.options.valued_by, logits, examples.y, member, ctx.seed)
        return u, np.asarray(logits.argmax(axis=1) == examples.y)


def judge(attack: Any, logits: Array, y: Array, member: Array, seed: int = 0) -> Array:
    """Return (n,) float64: an attack's scores minus its threshold, for a model whose membership (n,) bool is known.

    The model is its own shadow: an attack that fits a threshold on shadows fits that of this model.
    """
    answers = Answers(lambda: logits[:, None], y)
    evidence = Evidence(attack.needs, y, answers, (answers,), member[None], classes=logits.shape[1], seed=seed)
    return np.asarray(attack.score(evidence) - attack.threshold, dtype=np.float64)


def check(ctx: Context, options: ValuationOptions) -> None:
    """Raise, before anything is trained: DataError without reference examples, CellFailed for an unsuitable attack."""
    if ctx.reference is None or not len(ctx.reference):
        raise DataError("Valuing examples takes reference examples, but this task has none.")
    logits, y, member = np.array([[2, 0], [0, 3], [1, 0], [0, 1]], np.float32), np.array([0, 1] * 2), np.arange(4) < 2  # noqa: PLR2004
    try:
        judge(options.valued_by, logits, y, member)
    except CellFailed as error:
        raise CellFailed(f"valued_by={spec(options.valued_by)} cannot value a model's own examples: {error}") from error


def distances(
    task: Blueprint,
    members: Examples,
    fakes: Examples,
    ctx: Context,
    options: ValuationOptions,
    *,
    share: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """Return u (models, real + fake) float64: each model's scores above the threshold, members first.

    An attack that fits its threshold on shadows fits it on the model's own training examples against all others: the
    reference examples and, with valued=real_only, the generated ones. Raises what `check` raises, and Diverged.
    """
    check(ctx, options)
    union = concatenate(members, fakes)
    member = np.arange(len(union)) < (len(union) if options.valued == "union" else len(members))
    shaping: dict[str, Any] = {
        "models": options.valuation_models,
        "steps": options.valuation_steps,
        "members": len(members),
        "valued": options.valued,
        # With their code, which is not part of that of `make`.
        "valuation": component_key(options.valuation),
        "valued_by": component_key(options.valued_by),
    }

    def make(inner: Context) -> dict[str, Array]:
        valuer, count, found = Valuer(task, len(members), options), options.valuation_models, []
        assert inner.reference is not None
        everything = concatenate(union, inner.reference)
        trained_on = np.r_[member, np.zeros(len(inner.reference), bool)]
        for model in range(count):
            stage = inner.stage("model", model, (model / count, (model + 1) / count))
            net = valuer.train(union[member], stage)
            found.append(valuer.measure(net, everything, trained_on, stage)[0][: len(union)])
        return {"u": np.stack(found)}

    return ctx.kept("valuation", union, shaping, make, share=share)["u"]


def scaled(recipe: Recipe, fraction: float) -> Recipe:
    """Return a recipe with fewer epochs, at least one, and a warm-up shortened by the same fraction."""
    epochs = max(1, round(recipe.epochs * fraction))
    return replace(recipe, epochs=epochs, warmup=recipe.warmup * epochs / recipe.epochs)
