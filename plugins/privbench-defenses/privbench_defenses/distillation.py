"""Knowledge distillation: a student of a teacher trained on the same members (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from privbench.api import Release, Traits, component, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.api import Blueprint, Context, Examples

Mean: TypeAlias = Literal["example", "element"]
COST = 2.3
"""Two trainings, and the teacher's forward passes in the second, about a third of a step."""


@component
class Distillation:
    """Distillation: labels, and tempered predictions of a teacher with the same architecture and members.

    As in Hinton et al., with the temperature and weight of the RelaxLoss authors' baseline; preset=relaxloss is that
    baseline, whose mean runs over the elements of the divergence and so divides it by the number of classes too. The
    teacher predicts on each batch as given, including augmentation. Only the student is released; but its teacher was
    trained on the members too, and passes memorised information on: unlike for SELENA and DMP, there is no argument for
    privacy.
    """

    name: ClassVar[str] = "distillation"
    traits: ClassVar[Traits] = Traits(relative_cost=COST, publishes_synthetic=False)
    paper: ClassVar[str] = (
        "Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531; "
        "as a defense in code DingfanChen/RelaxLoss"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"relaxloss": {"mean": "element"}}

    temperature: float = option(10.0, "T, by which both models' logits are divided", gt=0)
    weight: float = option(0.5, "weight of T^2 times the divergence; the rest is the weight of the labels", ge=0, le=1)
    mean: Mean = option("example", "mean divergence over examples, or over examples and classes")

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train the teacher, then the student.

        Facts: `train_loss` and `teacher_train_loss`, mean cross-entropies with the labels. Raises Diverged.
        """
        from privbench.learn import mean_loss, train

        split = 1 / COST
        kept = ctx.kept("teacher", examples, {}, lambda inner: teacher(task, examples, inner), share=(0.0, split))
        wise = loaded(task, kept, ctx)

        def objective(model: nn.Module, inputs: Tensor, labels: Tensor, _epoch: int) -> Tensor:
            import torch

            with torch.no_grad():
                answers = wise(inputs).float()
            return distilled_loss(model(inputs).float(), labels, answers, self.temperature, self.weight, mean=self.mean)

        stage = ctx.stage("student", share=(split, 1.0))
        model = train(task, examples, stage, objective=objective, phase=lambda _: None)
        losses = {"train_loss": model, "teacher_train_loss": wise}
        return Release(model, facts={k: mean_loss(each, examples, device=ctx.device) for k, each in losses.items()})


def distilled_loss(
    logits: Tensor, labels: Tensor, answers: Tensor, temperature: float, weight: float, *, mean: Mean = "example"
) -> Tensor:
    """Return (1 - weight) * cross-entropy + weight * T^2 * KL(teacher at T || student at T).

    logits, answers: (b, classes) float32, the student's and the teacher's; labels: (b,) int64. T^2 keeps the gradient
    of the divergence about as large at every temperature (Hinton et al., section 2).
    """
    from torch.nn import functional

    student, wise = (functional.log_softmax(each / temperature, dim=1) for each in (logits, answers))
    divergence = functional.kl_div(student, wise, reduction="batchmean", log_target=True)
    if mean == "element":
        divergence = divergence / logits.shape[1]
    return (1 - weight) * functional.cross_entropy(logits, labels) + weight * temperature**2 * divergence


def teacher(task: Blueprint, examples: Examples, ctx: Context) -> dict[str, Any]:
    """Train the teacher, as the task trains, and return its weights."""
    from privbench.learn import train

    return {name: tensor.cpu().numpy() for name, tensor in train(task, examples, ctx).state_dict().items()}


def loaded(task: Blueprint, weights: Mapping[str, Any], ctx: Context) -> nn.Module:
    """Return the teacher, from its weights, on the device and in eval mode."""
    import torch

    from privbench.learn import classifier

    with ctx.seeded("teacher"):  # whose initial weights are not used, but drawn
        model: nn.Module = classifier(task)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    return model.to(ctx.device).eval()
