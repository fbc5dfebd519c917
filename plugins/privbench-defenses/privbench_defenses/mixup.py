"""Mixup: training on convex combinations of pairs of examples (Zhang et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from privbench.api import Release, component, option

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from privbench.api import Blueprint, Context, Examples


@component
class Mixup:
    """Mixup: each batch is mixed with a shuffled copy of itself, inputs and labels alike, by one Beta weight.

    As in the authors' code: one weight a batch, a batch's partners from the same batch, after augmentation. alpha = 1
    (uniform weights) is their CIFAR setting. Made for accuracy: it hardly ever shows the model a member as it is, but
    members are the corners of all that it sees, and are held, as by label smoothing, at a level of confidence that
    LiRA may tell better than that of plain training.
    """

    name: ClassVar[str] = "mixup"
    publishes_synthetic: ClassVar[bool] = False
    paper: ClassVar[str] = (
        "Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412; "
        "code facebookresearch/mixup-cifar10"
    )

    alpha: float = option(1.0, "both parameters of the Beta distribution of the weight: 1 is uniform", gt=0)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train. The fact `train_loss` is the final mean cross-entropy on the examples as they are. Raises Diverged."""
        from privbench.training import mean_loss, train

        rng = ctx.rng("mixup")

        def objective(model: nn.Module, inputs: Tensor, labels: Tensor, _epoch: int) -> Tensor:
            weight, partners = draw(len(inputs), self.alpha, rng)
            return mixed_loss(model, inputs, labels, weight, partners.to(inputs.device))

        model = train(task, examples, ctx, objective=objective)
        return Release(model, facts={"train_loss": mean_loss(model, examples, device=ctx.device)})


def draw(n: int, alpha: float, rng: np.random.Generator) -> tuple[float, Tensor]:
    """Return a batch's weight in [0, 1], from Beta(alpha, alpha), and each example's partner, (n,) int64 on the CPU."""
    import torch

    return float(rng.beta(alpha, alpha)), torch.from_numpy(rng.permutation(n))


def mixed_loss(model: nn.Module, inputs: Tensor, labels: Tensor, weight: float, partners: Tensor) -> Tensor:
    """Return the mean cross-entropy of the mixed batch with its mixed labels.

    inputs: (b, ...) float32; labels: (b,) int64; partners: (b,) int64 rows of the batch. The loss with mixed labels is
    the mixture of the two losses, for cross-entropy is linear in its targets.
    """
    from torch.nn import functional

    from privbench.inference import take

    logits = model(weight * inputs + (1 - weight) * take(inputs, partners)).float()
    own = functional.cross_entropy(logits, labels)
    return weight * own + (1 - weight) * functional.cross_entropy(logits, labels[partners])
