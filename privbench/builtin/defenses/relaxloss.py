"""RelaxLoss: keep the training loss near a level alpha above zero (Chen, Yu & Fritz 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Blueprint, Context, Examples

Variant: TypeAlias = Literal["official_cifar", "official_nonimage"]
Parity: TypeAlias = Literal["even", "odd"]


@component
class RelaxLoss:
    """RelaxLoss: descend while the batch's mean loss is above alpha, else ascend or flatten the posterior.

    alpha has no universal value: it must be below the test loss of undefended training; otherwise the model only
    becomes worse. The default suits `digits`. Difference from the authors' code unless preset=official: soft targets
    are constants, where theirs pass a gradient that sharpens the confidence that they should flatten. An incomplete
    last batch is always skipped, because its mean loss is noise.
    """

    name: ClassVar[str] = "relaxloss"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = "Chen, Yu & Fritz, RelaxLoss, ICLR 2022, arXiv 2207.05801; code DingfanChen/RelaxLoss"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "official": {"variant": "official_cifar", "detach_targets": False},
        # JEKimLab/UAI24_CRL, the closest public code with the networks and data of "Fake data training and transform by
        # CycleGAN".
        "seed_s0": {"variant": "official_nonimage", "detach_targets": False, "relaxed_epochs": "odd"},
    }

    alpha: float = option(0.08, "target level of the mean training loss", ge=0)
    upper: float = option(1.0, "maximum confidence of the label in a soft target", ge=0, le=1)
    variant: Variant = option(
        "official_cifar", "authors' image trainer (flattens misclassified examples, ascends on all), or their other one"
    )
    detach_targets: bool = option(True, "treat soft targets as constants")
    relaxed_epochs: Parity = option("even", "epochs, from 0, that minimise |loss - alpha|; the others may flatten")

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train. The fact `train_loss` is the final mean cross-entropy, to compare with alpha. Raises Diverged."""
        from privbench.learn import mean_loss, train

        def loss(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
            return relax_loss(
                logits,
                labels,
                relaxed=epoch % 2 == (self.relaxed_epochs == "odd"),
                alpha=self.alpha,
                upper=self.upper,
                variant=self.variant,
                detach_targets=self.detach_targets,
            )

        model = train(task, examples, ctx, loss=loss, drop_last=True, phase=lambda epoch: epoch % 2)
        return Release(model, facts={"train_loss": mean_loss(model, examples, device=ctx.device)})


def relax_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    relaxed: bool,
    alpha: float,
    upper: float = 1.0,
    variant: Variant = "official_cifar",
    detach_targets: bool = True,
    look: bool | None = None,
) -> Tensor:
    """Return the objective of one batch, from float32 logits (b, classes) and labels (b,) (Chen et al., section 4).

    With ce_i the cross-entropies and L their mean:

        relaxed epochs:         |L - alpha|
        others, L > alpha:      L
        others, L <= alpha:     mean[soft_i]                                  official_nonimage
                                mean[(1 - correct_i) soft_i - ce_i]           official_cifar

    soft_i is the cross-entropy with c_i = min(p_iy, upper) on the label and (1 - c_i) / (classes - 1) elsewhere.
    With `look` only the branch that L selects is computed; without, both are, and one is selected on the device,
    because reading L from a card would stall it (None: look on a CPU whose steps are not recorded). At L = alpha
    exactly, |L - alpha| descends, so that alpha = 0 is cross-entropy bit for bit (official_nonimage, upper = 1).
    """
    import torch
    from torch.nn import functional

    from privbench.learn import recorded

    log_p = functional.log_softmax(logits, dim=1)
    mean = functional.nll_loss(log_p, labels)
    look = mean.device.type == "cpu" and not recorded(mean.device) if look is None else look
    if relaxed:
        if look:
            return mean - alpha if mean >= alpha else alpha - mean
        return torch.where(mean >= alpha, mean - alpha, alpha - mean)
    if look and mean > alpha:
        return mean
    of_label = log_p.gather(1, labels[:, None])[:, 0]
    confidence = of_label.exp().clamp(max=upper)
    if detach_targets:
        confidence = confidence.detach()
    others = (log_p.sum(dim=1) - of_label) / (logits.shape[1] - 1)
    flat = -(confidence * of_label + (1 - confidence) * others)
    if variant == "official_cifar":
        wrong = logits.argmax(dim=1) != labels
        flat = torch.where(wrong, flat, 0.0) + of_label
    return flat.mean() if look else torch.where(mean > alpha, mean, flat.mean())
