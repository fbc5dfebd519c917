"""MemGuard: noise on what a model answers, made to fool an attacker's classifier (Jia et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from privbench.api import Traits, component, option
from privbench.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from privbench.api import Blueprint, Context, Examples


@component
class MemGuard:
    """MemGuard: an output filter that moves each answer to where the defender's own attack cannot tell members.

    The defender trains an attack on sorted confidences of the members and of his validation examples. Each query's
    logits then walk towards the point where it says 1/2, with the label held; of the walks with growing weights of the
    distortion, the one that moved the confidences least is taken. The filter follows any training
    (`relaxloss+memguard`); alone it follows plain training. No label ever changes, so it does nothing against attacks
    on labels, and nothing for or against accuracy.

    The paper's randomised second phase is one draw per input that follows from the input's bits and a secret of the
    release: asking again teaches nothing, though asking about another input nearby does. Differs from the authors'
    code: their attack's hidden layers are 256/128/64, and walks are given up after 300 steps only (`preset=paper`);
    batches of the attack's training are half members, for the validation examples are few. A walk that never arrives
    leaves the answer as it was, as theirs does, which shows in the most confident answers if `max_steps` is small.
    """

    name: ClassVar[str] = "memguard"
    paper: ClassVar[str] = (
        "Jia et al., MemGuard: Defending against Black-Box Membership Inference Attacks via Adversarial Examples, "
        "CCS 2019, arXiv 1909.10594; code jinyuan-jia/MemGuard"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"hidden": (256, 128, 64), "max_steps": 300, "patience": 300}
    }
    traits: ClassVar[Traits] = Traits(relative_cost=0.0)

    budget: float = option(1.0, "expected L1 distance that noise may move confidences, in [0, 2]", ge=0, le=2)
    max_steps: int = option(150, "steps of 0.1 in logits that a walk may take", ge=1)
    patience: int = option(20, "steps without coming nearer after which a walk is given up", ge=1)
    hidden: tuple[int, ...] = option((64, 32), "hidden layers of the defender's own attack")
    attack_steps: int = option(1000, "training steps of the defender's own attack", ge=1)
    attack_lr: float = option(1e-3, "its learning rate (Adam)", gt=0)

    def __post_init__(self) -> None:
        """Refuse layers without units."""
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"option 'hidden' = {self.hidden} has a layer without units; give sizes of 1 or more")

    def filter(self, task: Blueprint, model: nn.Module, examples: Examples, ctx: Context) -> nn.Module:
        """Train the defender's attack on `examples` and ctx.validation, and return the model behind the filter.

        Raises DataError without validation examples.
        """
        from privbench.learn import predict
        from privbench_defenses.guarded import train_attack
        from privbench_defenses.per_input import secret

        if ctx.validation is None or not len(ctx.validation):
            raise DataError("memguard trains an attack on examples outside the pool; this task has no validation ones.")
        members, others = (predict(model, some.x, device=ctx.device) for some in (examples, ctx.validation))
        with ctx.seeded("attack"):
            released = self.filtered(task, model)
        train_attack(released.attack.to(ctx.device), members, others, ctx, steps=self.attack_steps, lr=self.attack_lr)
        released.key.copy_(secret(ctx))
        return released.to(ctx.device).eval()

    def filtered(self, task: Blueprint, model: nn.Module) -> Any:
        """Return the same around a model without weights."""
        from privbench_defenses.guarded import Guarded

        return Guarded(
            model, task.classes, hidden=self.hidden, budget=self.budget, steps=(self.max_steps, self.patience)
        )
