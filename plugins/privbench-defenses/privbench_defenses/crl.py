"""Center-based Relaxed Learning: RelaxLoss on scaled-down logits, and features near their class's centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Blueprint, Context, Examples

Parity: TypeAlias = Literal["even", "odd"]


@component
class CRL:
    """CRL: RelaxLoss on scaled-down logits, plus a loss that keeps features at a distance from their class's centre.

    As in the authors' code (both losses, the parity of epochs, SGD of the centres with the recipe's momentum and weight
    decay but no schedule), except: confidences are constants unless preset=official, where theirs pass a gradient that
    sharpens what it is to relax; features are the inputs of the last linear layer, which for MobileNetV3 is one layer
    later than theirs; a last batch that is not full is left out, for its mean is noise. The settings they used are not
    with their code: ours of t, upper, weight and lr_center are guesses at the order of magnitude, and both alphas suit
    `digits`. As in RelaxLoss, alpha has no universal value and must lie below the test loss of undefended training,
    here that of shrunken logits, which is larger; 1 / t bounds their norm, and so the loss from below. Logits are
    released as they are, unshrunken.
    """

    name: ClassVar[str] = "crl"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)
    paper: ClassVar[str] = (
        "Fang & Kim, Center-Based Relaxed Learning Against Membership Inference Attacks, UAI 2024, arXiv 2404.17674; "
        "code JEKimLab/UAI24_CRL"
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"official": {"detach_targets": False}}

    alpha: float = option(0.15, "target level of the mean loss of shrunken logits", ge=0)
    t: float = option(0.05, "shrinks logits z to z / (1 + t |z|); 0 leaves them", ge=0)
    upper: float = option(1.0, "maximum confidence of the label in a soft target", ge=0, le=1)
    weight: float = option(0.1, "weight of the centre loss (lambda)", ge=0)
    alpha_center: float = option(1.0, "target level of half the mean squared distance to the centre", ge=0)
    t_center: float = option(0.05, "shrinks features and centres, as t does logits", ge=0)
    upper_center: float = option(1.0, "maximum confidence of the examples in the centre loss", ge=0, le=1)
    lr_center: float = option(0.5, "learning rate of the centres, constant", gt=0)
    detach_targets: bool = option(True, "treat confidences as constants")
    relaxed_epochs: Parity = option("odd", "epochs, from 0, that minimise |loss - alpha|; the others may flatten")

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train.

        Facts: `train_loss`, the final mean cross-entropy of the logits as released, unshrunken; `center_distance`, half
        the mean squared distance of shrunken features to their centres over the last epoch, to compare with
        alpha_center. Raises Diverged, or BadOption for a model that does not end in a linear layer.
        """
        from privbench.learn import mean_loss, train
        from privbench_defenses.crl_objective import Objective

        objective = Objective(self, task, ctx)
        model = train(
            task,
            examples,
            ctx,
            objective=objective,
            drop_last=True,
            stop=objective.ended,
            phase=lambda epoch: epoch % 2,
        )
        facts = {
            "train_loss": mean_loss(model, examples, device=ctx.device),
            "center_distance": objective.distance,
        }
        return Release(model, facts=facts)


def shrink(vectors: Tensor, t: float) -> Tensor:
    """Return S_t(v) = v / (1 + t |v|) of vectors (b, d), whose norms are then below 1 / t."""
    import torch

    return vectors / (1 + t * torch.linalg.vector_norm(vectors, dim=1, keepdim=True))


def confidences(logits: Tensor, labels: Tensor, upper: float, *, detach: bool) -> Tensor:
    """Return (b,): the confidence in the label, from the logits (b, classes) as they are, at most `upper`."""
    from torch.nn import functional

    confidence = functional.softmax(logits, dim=1).gather(1, labels[:, None])[:, 0].clamp(max=upper)
    return confidence.detach() if detach else confidence


def relaxed_loss(
    logits: Tensor, labels: Tensor, confidence: Tensor, *, relaxed: bool, alpha: float, t: float
) -> Tensor:
    """Return the first loss of one batch, from float32 logits (b, classes), labels (b,) and their confidences (b,).

    With L the mean cross-entropy of the shrunken logits:

        relaxed epochs:         |L - alpha|
        others, L > alpha:      L
        others, L <= alpha:     mean cross-entropy with `confidence` on the label, and the rest spread evenly

    Which it is, is decided on the device: to look at L would be to wait for it.
    """
    import torch
    from torch.nn import functional

    log_p = functional.log_softmax(shrink(logits, t), dim=1)
    of_label = log_p.gather(1, labels[:, None])[:, 0]
    mean = -of_label.mean()
    if relaxed:
        return (mean - alpha).abs()
    others = (log_p.sum(dim=1) - of_label) / (logits.shape[1] - 1)
    flat = -(confidence * of_label + (1 - confidence) * others).mean()
    return torch.where(mean > alpha, mean, flat)


def center_loss(
    features: Tensor, centers: Tensor, confidence: Tensor, *, relaxed: bool, alpha: float, t: float
) -> tuple[Tensor, Tensor]:
    """Return the second loss of one batch, and the distance that it holds near alpha.

    features: (b, d); centers: (b, d), each example's class's; confidence: (b,). With d_i the squared distance of the
    shrunken feature to the shrunken centre, and D half their mean:

        relaxed epochs:         |D - alpha|
        others, D > alpha:      D
        others, D <= alpha:     half the mean of c_i d_i + (1 - c_i) |shrunken feature|^2
    """
    import torch

    features = shrink(features, t)
    squared = (features - shrink(centers, t)).square().sum(dim=1)
    distance = squared.mean() / 2
    if relaxed:
        return (distance - alpha).abs(), distance
    loose = (confidence * squared + (1 - confidence) * features.square().sum(dim=1)).mean() / 2
    return torch.where(distance > alpha, distance, loose), distance
