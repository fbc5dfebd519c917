"""Early stopping: plain training, ended before the model memorises its examples (Song & Mittal 2021)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from privbench.api import Release, Traits, component, option
from privbench.errors import BadOption

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privbench.api import Blueprint, Context, Examples


@component
class EarlyStopping:
    """Early stopping: plain training, ended after some of the recipe's epochs.

    The learning rate follows the schedule of the whole recipe, cut off where training ends, as in the RelaxLoss
    authors' baseline, whose checkpoints are points of one run; a shorter schedule would be another recipe, not a
    defense. One release is one point of the curve, which papers give whole: `early-stopping:epochs=5`, `epochs=10`, ...
    (theirs, of 300: 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 250). No paper fixes a point for all recipes: the
    default, a quarter of the recipe, is ours. With `patience` it ends by the loss on the defender's validation
    examples, and the weights of the best epoch are released; that spends no members, but needs those examples.
    """

    name: ClassVar[str] = "early-stopping"
    paper: ClassVar[str] = (
        "Song & Mittal, Systematic Evaluation of Privacy Risks of Machine Learning Models, USENIX Security 2021; "
        "code DingfanChen/RelaxLoss"
    )

    share: float = option(0.25, "share of the recipe's epochs, rounded up", gt=0, le=1)
    epochs: int | None = option(None, "number of epochs, in place of share", ge=1)
    patience: int | None = option(None, "in their place, epochs without a lower validation loss before it stops", ge=1)

    def __post_init__(self) -> None:
        """Refuse two ends at once."""
        if self.epochs is not None and self.patience is not None:
            raise ValueError("options 'epochs' and 'patience' both say when training ends; give one of them")

    @property
    def traits(self) -> Traits:
        """It takes a share of a training; at most all of it where the recipe or the data decide."""
        cost = self.share if self.epochs is None and self.patience is None else 1.0
        return Traits(relative_cost=cost, publishes_synthetic=False)

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train. Facts: `train_loss`, the final mean cross-entropy; `epochs`, those that the released weights took.

        Raises BadOption for more epochs than the recipe has, or for patience where there is no validation data;
        Diverged.
        """
        from privbench.learn import mean_loss, train

        end = _Best(self.patience, ctx) if self.patience is not None else _After(self._last(task.recipe.epochs))
        model = train(task, examples, ctx, stop=end)
        end.restore(model)
        facts = {"train_loss": mean_loss(model, examples, device=ctx.device), "epochs": float(end.epochs)}
        return Release(model, facts=facts)

    def _last(self, total: int) -> int:
        """Return the number of epochs to train, of `total`."""
        if self.epochs is None:
            return math.ceil(round(self.share * total, 9))  # 0.07 * 100 is a little more than 7
        if self.epochs > total:
            raise BadOption(
                f"'early-stopping': epochs = {self.epochs}, but the recipe has only {total}; nothing stops."
            )
        return self.epochs


class _After:
    """Ends training after a number of epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, _model: nn.Module, epoch: int) -> bool:
        return epoch + 1 >= self.epochs

    def restore(self, model: nn.Module) -> None:
        """Leave the model as it is."""


class _Best:
    """Ends training when the validation loss has not fallen for `patience` epochs, and remembers the best weights."""

    def __init__(self, patience: int, ctx: Context) -> None:
        if ctx.validation is None or not len(ctx.validation):
            raise BadOption("'early-stopping': patience needs validation examples, and the task has none; give epochs.")
        self.patience, self.validation, self.device = patience, ctx.validation, ctx.device
        self.least, self.epochs, self.weights = math.inf, 0, dict[str, "Tensor"]()

    def __call__(self, model: nn.Module, epoch: int) -> bool:
        from privbench.learn import mean_loss

        loss = mean_loss(model, self.validation, device=self.device)
        if loss < self.least or not self.weights:
            self.least, self.epochs = loss, epoch + 1
            self.weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return epoch + 1 - self.epochs >= self.patience

    def restore(self, model: nn.Module) -> None:
        """Give the model back the weights of the best epoch."""
        model.load_state_dict(self.weights)
