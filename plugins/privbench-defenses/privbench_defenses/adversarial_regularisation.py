"""Adversarial regularisation: alternating training against an inference attack (Nasr et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from privbench.api import Release, Traits, component, option
from privbench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from privbench.api import Blueprint, Context, Examples

Gain: TypeAlias = Literal["mean", "log"]


@component
class AdversarialRegularisation:
    """Adversarial regularisation: cross-entropy plus the gain on members of an alternately trained attack.

    Before each of the model's steps the attack is trained to distinguish members from the defender's validation
    examples by confidences and labels; the model's loss then includes `weight` times its gain on the batch. The gain is
    that of the public codes of SELENA and RelaxLoss, the mean of the attack's h minus 1/2 (with squared error for the
    attack), or that of Nasr et al., the mean of log h (with cross-entropy for the attack); the latter has no lower
    bound.

    Differences from these codes: the widths of the attack's layers are a share `width` of theirs, 1024/512/64 on
    confidences among them (`preset=relaxloss`), with the usual initialisation by the number of inputs instead of N(0,
    0.01), which does not work for narrow layers; it gets members unaugmented, in separate batches, as many as
    non-members; and the few validation examples are used again and again, so that it may memorise them: more of them
    make it stronger.
    """

    name: ClassVar[str] = "adversarial-regularisation"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = (
        "Nasr, Shokri & Houmansadr, Machine Learning with Membership Privacy using Adversarial Regularization, "
        "CCS 2018, arXiv 1807.05852; code DingfanChen/RelaxLoss, inspire-group/MIAdefenseSELENA"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "relaxloss": {"width": 1.0},
        "selena_cifar100": {"weight": 6.0, "width": 1.0},
        "paper": {"gain": "log", "width": 1.0},
    }

    weight: float = option(1.0, "lambda, the weight of the attack's gain", ge=0)
    gain: Gain = option("mean", "the attack's gain: mean of h - 1/2 (h by squared error), or of log h (the paper's)")
    width: float = option(0.125, "widths of the attack's layers, relative to the paper", gt=0, le=1)
    warmup: int = option(3, "first epochs, with cross-entropy only, while the attack is trained", ge=0)
    warmup_steps: int = option(5, "the attack's steps per step of the model in those epochs; one afterwards", ge=1)
    attack_lr: float = option(1e-3, "learning rate of the attack (Adam)", gt=0)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train the model and the attack in turn.

        Facts: `train_loss`, the final mean cross-entropy; `attack_gain`, the mean of h on members less that on the
        others, which the attack knew too, after training. Raises Diverged, or DataError without validation examples.
        """
        from privbench.learn import cross_entropy, mean_loss, train
        from privbench_defenses.inference_game import Game

        if ctx.validation is None or not len(ctx.validation):
            raise DataError(
                "adversarial-regularisation trains an attack on examples outside the pool; this task has no "
                "validation ones."
            )
        game = Game(task, examples, ctx.validation, ctx, width=self.width, lr=self.attack_lr, gain=self.gain)

        def warm(epoch: int) -> bool:
            return epoch < self.warmup

        def draws(epoch: int, sizes: Sequence[int]) -> list[Tensor]:
            return game.draw(len(sizes), self.warmup_steps if warm(epoch) else 1)

        def objective(model: nn.Module, inputs: Tensor, labels: Tensor, epoch: int, *drawn: Tensor) -> Tensor:
            for rows in zip(*drawn, strict=True):
                game.attack_learns(model, rows)
            logits = model(inputs).float()
            loss = cross_entropy(logits, labels)
            return loss if warm(epoch) else loss + self.weight * game.gain_on(logits, labels)

        model = train(task, examples, ctx, objective=objective, draws=draws, phase=warm)
        facts = {"train_loss": mean_loss(model, examples, device=ctx.device), "attack_gain": game.advantage(model)}
        return Release(model, facts=facts)
