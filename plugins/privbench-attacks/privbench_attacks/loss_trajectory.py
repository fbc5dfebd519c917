"""Loss trajectories: the losses on an example during the distillation of a model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from privbench.api import Examples, Needs, component, option
from privbench.errors import CellFailed
from privbench.stats import signals

if TYPE_CHECKING:
    from torch import nn

    from privbench.api import Blueprint, Context, Evidence, Recipe

Array: TypeAlias = npt.NDArray[Any]


@component
class LossTrajectory:
    """The log-odds of "member", from an example's losses on the target and on checkpoints of its distillation.

    The attacker distils the target: it trains the task's architecture, with its recipe, on the reference examples with
    the target's probabilities as soft labels, and records every candidate's loss at checkpoints. The same for shadows,
    whose members it knows, provides the training data of a network (512-128-32 in Liu et al.) that classifies
    trajectories.

    Differences: 10 checkpoints over the recipe's epochs instead of each of 100; the trajectory network is smaller, and
    keeps the weights of its best epoch on held-out shadow rows (the authors' code keeps the best on the target itself,
    puts a softmax before a loss that has one, and uses randomly augmented inputs for trajectories: none of it here).
    Losses enter as log(p / (1 - p)), which has the same order, since losses near 0 are indistinguishable for a network;
    `scale=loss` is the setting of Liu et al. Shadows are a complementary pair of the population, so that each example
    is once in and once out, and the attacker's auxiliary data are the reference examples, on `digits` 153 instead of
    20,000: the fewer there are, the less information about members a distillation transfers, and the target's own loss
    dominates.
    """

    name: ClassVar[str] = "loss-trajectory"
    paper: ClassVar[str] = (
        "Liu, Zhao, Backes, Zhang: Membership Inference Attacks by Exploiting Loss Trajectory, CCS 2022 (2208.14933)"
    )
    threshold: ClassVar[float] = 0.0

    shadows: Literal["adaptive", "undefended"] = option(
        "adaptive", "shadows trained with the target's whole defense; without any"
    )
    checkpoints: int = option(10, "points of a trajectory, evenly spaced over a distillation", ge=1)
    epochs: int | None = option(None, "epochs of a distillation (none: the recipe's; the paper: 100)", ge=1)
    distilled_shadows: int = option(2, "number of shadows to distil", ge=1)
    scale: Literal["logit", "loss"] = option("logit", "form of the loss: log(p / (1 - p)), or -log p")
    hidden: tuple[int, ...] = option((64, 32), "units of the trajectory network's hidden layers", min_length=1)
    passes: int = option(30, "epochs of the trajectory network on the shadows' trajectories", ge=1)

    @property
    def needs(self) -> Needs:
        """Logits, shadows, the candidates, and the means to train: auxiliary examples and the architecture."""
        return Needs(shadows=self.shadows, examples=True, reference=True, training=True)

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64; 0 and above means member. Raises CellFailed without shadows or reference examples."""
        from privbench_attacks.small_nets import Known, log_odds

        reference = evidence.reference
        if len(reference.labels) == 0:
            raise CellFailed("loss-trajectory distils on reference examples, but the task keeps none.")
        answers = reference.shadow_logits
        if not len(answers):
            raise CellFailed("loss-trajectory needs shadow models, but there are none: use at least 4 (--models 4).")
        target = self._rows(evidence, np.asarray(reference.logits[:, 0]), evidence.logits[:, :1])
        known, member = [], []
        for shadow in chosen_shadows([each[:, 0] for each in answers], evidence.shadow_member, self.distilled_shadows):
            known.append(self._rows(evidence, answers[shadow][:, 0], evidence.shadow_logits[shadow][:, :1]))
            member.append(evidence.shadow_member[shadow])
        rows, rng = np.concatenate(known), evidence.rng("loss-trajectory")
        nobody = np.zeros(len(rows), dtype=np.int64)
        learnt = Known(rows, nobody, np.concatenate(member))
        return log_odds(learnt, target, nobody[: len(target)], rng=rng, hidden=self.hidden, epochs=self.passes)

    def _rows(self, evidence: Evidence, answers: Array, own: Array) -> Array:
        """Return one model's trajectories and own losses, (n, checkpoints + 1) float64.

        answers: its logits on the reference examples, (r, c); own: its logits on the candidates, (n, 1, c).
        """
        task = evidence.task
        recipe = plain_recipe(task.recipe, self.epochs)
        candidates = Examples(evidence.x, evidence.labels)
        options = {
            "answers": hashlib.sha256(np.ascontiguousarray(answers).tobytes()).hexdigest(),
            "candidates": candidates.fingerprint,
            "checkpoints": self.checkpoints,
            "epochs": recipe.epochs,
        }
        reference = Examples(evidence.reference.x, evidence.reference.labels)

        def make(ctx: Context) -> dict[str, Array]:
            return {
                "logits": distilled(
                    task, reference, answers, candidates.x, recipe=recipe, checkpoints=self.checkpoints, ctx=ctx
                )
            }

        # The context is the same for every target: what one target is as a shadow of others is distilled once.
        trajectory = evidence.ctx.kept("loss-trajectory", reference, options, make)["logits"]
        signal = signals.phi if self.scale == "logit" else signals.log_confidence
        return np.concatenate([signal(each, evidence.labels) for each in (trajectory, own)], axis=1)


def plain_recipe(recipe: Recipe, epochs: int | None) -> Recipe:
    """Return the recipe without augmentation: soft labels are answers to the inputs as they are."""
    return replace(recipe, epochs=epochs or recipe.epochs, crop=0, flip=0.0, cutout=0, copies=0)


def distilled(
    task: Blueprint, reference: Examples, answers: Array, x: Array, *, recipe: Recipe, checkpoints: int, ctx: Context
) -> Array:
    """Distil a model that gave these answers (r, c); return the student's logits on x, (n, checkpoints, c) float32."""
    import torch

    from privbench.learn import predict, train

    ends = set(np.linspace(0, recipe.epochs, min(checkpoints, recipe.epochs) + 1)[1:].round().astype(int))
    found: list[Array] = []

    def note(model: nn.Module, epoch: int) -> bool:
        if epoch + 1 in ends:
            found.append(predict(model, x, device=ctx.device))
        return False

    soft = torch.softmax(torch.tensor(answers, dtype=torch.float64), dim=1)
    train(task, reference, ctx, targets=soft, recipe=recipe, stop=note)
    return np.stack(found, axis=1)


def chosen_shadows(answers: list[Array], member: Array, count: int) -> list[int]:
    """Return the shadows that are distilled: complementary pairs as far as there are any, in whatever order they come.

    answers: of each shadow, by which they are ordered, so that targets choose the same ones; member: (s, n) bool.
    """
    order = sorted(range(len(answers)), key=lambda shadow: hashlib.sha256(answers[shadow].tobytes()).digest())
    chosen: list[int] = []
    for shadow in order:
        if shadow not in chosen:
            pair = [other for other in order if (member[other] != member[shadow]).all()]
            chosen += [shadow, *pair[:1]]
    return chosen[:count]
