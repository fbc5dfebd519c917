"""Plain cross-entropy training: no defense, the baseline of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from privbench.contracts.release import Release
from privbench.contracts.traits import Traits
from privbench.options.fields import component

if TYPE_CHECKING:
    from privbench.contracts.context import Context
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples


@component
class CrossEntropy:
    """No defense: plain cross-entropy, the weights of the last epoch, no model selection."""

    name: ClassVar[str] = "ce"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = "the undefended baseline"

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train on all examples. The fact `train_loss` is their mean cross-entropy. Raises Diverged."""
        from privbench.learn.inference import mean_loss
        from privbench.learn.training import train

        model = train(task, examples, ctx)
        return Release(model, facts={"train_loss": mean_loss(model, examples, device=ctx.device)})
