"""MemGuard: noise on predictions that evades an attacker's classifier (Jia et al. 2019)."""

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
    """MemGuard: an output filter that perturbs each prediction until the defender's own attack cannot detect members.

    The defender trains an attack on sorted confidences of the members and of its validation examples. The logits of
    each query then move towards the point where the attack's output is 1/2, with the label fixed; of the searches with
    increasing weights of the distortion, the one with the smallest change of the confidences is used. The filter
    follows any training (`relaxloss+memguard`); alone it follows plain training. No label ever changes, so it has no
    effect on label-only attacks and on accuracy.

    The randomised second phase of Jia et al. is one draw per input that is a function of the input's bits and a secret
    of the release: repeated queries reveal nothing, although a query with a slightly different input does. Differences
    from the authors' code: their attack's hidden layers are 256/128/64, and searches only end after 300 steps
    (`preset=paper`); batches of the attack's training are half members, because there are few validation examples. A
    search without success leaves the prediction unchanged, as theirs does, which is visible in the most confident
    predictions if `max_steps` is small.
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

    budget: float = option(
        1.0, "maximum expected L1 distance between confidences with and without noise, in [0, 2]", ge=0, le=2
    )
    max_steps: int = option(150, "maximum number of steps of a walk, of 0.1 in the logits", ge=1)
    patience: int = option(20, "steps without progress after which a walk ends", ge=1)
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
