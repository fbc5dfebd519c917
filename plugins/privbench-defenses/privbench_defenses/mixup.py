"""Mixup: training on convex combinations of pairs of examples (Zhang et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor, nn

    from privbench.api import Blueprint, Context, Examples


@component
class Mixup:
    """Mixup: each batch is mixed with a shuffled copy of itself, both inputs and labels, with one Beta weight.

    As in the authors' code: one weight per batch, partners from the same batch, after augmentation. alpha = 1 (uniform
    weights) is their CIFAR setting. It was designed for accuracy: the model rarely sees an unmixed member, but members
    are the extreme points of its inputs, and are kept, as by label smoothing, at a level of confidence that LiRA may
    detect better than that of plain training.
    """

    name: ClassVar[str] = "mixup"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = (
        "Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412; "
        "code facebookresearch/mixup-cifar10"
    )

    alpha: float = option(1.0, "both parameters of the Beta distribution of the weight: 1 is uniform", gt=0)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train. The fact `train_loss` is the final mean cross-entropy on the examples as they are. Raises Diverged."""
        from privbench.learn import mean_loss, train

        rng = ctx.rng("mixup")

        def draws(_epoch: int, sizes: Sequence[int]) -> list[Tensor]:
            return draw(sizes, self.alpha, rng)

        def objective(model: nn.Module, inputs: Tensor, labels: Tensor, _epoch: int, *drawn: Any) -> Tensor:
            return mixed_loss(model, inputs, labels, *drawn)

        model = train(task, examples, ctx, objective=objective, draws=draws, phase=lambda _: None)
        return Release(model, facts={"train_loss": mean_loss(model, examples, device=ctx.device)})


def draw(sizes: Sequence[int], alpha: float, rng: np.random.Generator) -> list[Tensor]:
    """Return what is drawn for batches of so many examples, on the CPU.

    Their weights (steps,) float32 in [0, 1], from Beta(alpha, alpha); what is left of 1, which float32 rounds by
    itself; and the examples' partners (steps, largest) int64, of which a smaller batch takes the first.
    """
    import numpy as np
    import torch

    weights, partners = np.zeros(len(sizes)), np.zeros((len(sizes), max(sizes)), dtype=np.int64)
    for step, size in enumerate(sizes):
        weights[step] = rng.beta(alpha, alpha)
        partners[step, :size] = rng.permutation(size)
    both = torch.from_numpy(np.stack([weights, 1 - weights])).float()
    return [*both, torch.from_numpy(partners)]


def mixed_loss(  # noqa: PLR0917 - the last three are drawn together
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    weight: float | Tensor,
    rest: float | Tensor,
    partners: Tensor,
) -> Tensor:
    """Return the mean cross-entropy of the mixed batch with its mixed labels.

    inputs: (b, ...) float32; labels: (b,) int64; weight and rest: of an example, and of its partner; partners: (b,)
    int64 rows of the batch, or more. The loss with mixed labels is the mixture of the two losses, for cross-entropy is
    linear in its targets.
    """
    from torch.nn import functional

    from privbench.learn import take

    partners = partners[: len(inputs)]
    logits = model(weight * inputs + rest * take(inputs, partners)).float()
    own = functional.cross_entropy(logits, labels)
    return weight * own + rest * functional.cross_entropy(logits, labels[partners])
