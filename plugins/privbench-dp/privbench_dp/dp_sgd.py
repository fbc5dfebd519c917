"""DP-SGD: clipped gradients, Gaussian noise, and a proven epsilon (Abadi et al. 2016)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from privbench.api import Release, Traits, component, option
from privbench.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    from torch import nn

    from privbench.api import Blueprint, Context, Examples

    Array = npt.NDArray[Any]

EPSILON = 8.0
PEAK, LOUDNESS = 0.5, 1 / 800
IMAGE_DIMENSIONS = 3
COST = 3.0
"""What one training costs, in trainings of the task's model, as measured on `digits`."""
ACCURACY = "validation accuracy"
KEPT = ("clip", "rate", "epochs", "lr", "momentum", "optimizer", "schedule", "ema", "copies")
"""The options that shape a training, beside its noise."""


@component
class DPSGD:
    """DP-SGD: each example's gradient clipped, Gaussian noise on their sum, Poisson sampling, and a proven epsilon.

    Set the noise with one of: `epsilon`, for which the accountant finds the noise; `noise` itself, which may be 0; or
    `accuracy`, for the baseline that a defense must beat: the largest noise that still reaches this accuracy on the
    validation examples, found by bisection.

    Facts: epsilon and delta (adding or removing one example), noise, clip, sampling_rate and steps, from which epsilon
    can be recomputed. epsilon does not cover choices based on results on the private examples. Thus the search of
    `accuracy` is not accounted for (the fact `searched` is 1), nor is an option that you tuned; and the size of the
    training set is considered public. The noise comes from a seeded generator, so that a run can be repeated: with the
    seed it can be removed.

    Differences from Abadi et al.: the sum is divided by the expected size of a sample, not the actual size in a step;
    BatchNorm, which mixes examples, becomes GroupNorm; inputs are standardised by the validation examples, which are
    not private, where other defenses use the members; the weights may be averaged over steps (`ema`). With an
    augmenting recipe a step uses `copies` augmented copies of an example and averages their gradients before clipping
    (De et al. 2022); the recipe's own `copies`, optimiser, learning rate, epochs and batch size are not used.
    """

    name: ClassVar[str] = "dp-sgd"
    paper: ClassVar[str] = (
        "Abadi et al., Deep Learning with Differential Privacy, CCS 2016; De et al., Unlocking High-Accuracy "
        "Differentially Private Image Classification through Scale, 2022; by Opacus"
    )

    epsilon: float | None = option(None, f"target epsilon; {EPSILON:g} if neither noise nor accuracy is given", gt=0)
    noise: float | None = option(None, "in place of epsilon: standard deviation of the noise, in units of clip", ge=0)
    accuracy: float | None = option(
        None, "in place of epsilon: search the largest noise with this accuracy on the validation examples", gt=0, le=1
    )
    delta: float = option(1e-5, "delta of (epsilon, delta); below one over the number of examples", gt=0, lt=1)
    clip: float = option(1.0, "largest norm of one example's gradient", gt=0)
    rate: float = option(0.25, "probability that an example is in a step (Poisson sampling)", gt=0, le=1)
    epochs: int = option(40, "expected passes over the examples: epochs / rate steps", ge=1)
    lr: float | None = option(
        None, "peak learning rate; none: rate * n / (800 * noise), at most 0.5, and divided by clip", gt=0
    )
    momentum: float = option(0.9, "momentum of SGD", ge=0, lt=1)
    optimizer: Literal["sgd", "adam"] = option("sgd", "SGD with momentum, or Adam")
    schedule: Literal["constant", "cosine"] = option("constant", "schedule of the learning rate, per step")
    ema: float = option(
        0.9, "decay of the released average of the weights over steps (0: the last weights)", ge=0, lt=1
    )
    copies: int = option(1, "with an augmenting recipe: augmented copies of an example per step", ge=1)
    accountant: Literal["prv", "rdp"] = option("prv", "Opacus's accountant: prv is tight, rdp is the older bound")
    search: int = option(7, "with accuracy: trainings that bisect the noise; each halves the logarithmic range", ge=1)

    def __post_init__(self) -> None:
        """Refuse two answers to the question how much noise there is."""
        given = [name for name in ("epsilon", "noise", "accuracy") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"options {' and '.join(given)} each decide the noise; give one of them")
        if math.isinf(self.clip) and self.noise != 0:
            raise ValueError("option 'clip' = inf needs noise = 0: there is no noise in units of no bound")

    @property
    def steps(self) -> int:
        """Logical steps of one training."""
        return max(1, round(self.epochs / self.rate))

    def learning_rate(self, noise: float, n: int) -> float:
        """Return the peak learning rate for n examples: where none is given, lower for louder noise in the mean.

        A rule of ours, chosen on `digits` at epsilon 1, 4 and 8. It sees nothing private.
        """
        if self.lr is not None:
            return self.lr
        rate = PEAK if not noise else min(PEAK, LOUDNESS * self.rate * n / noise)
        return rate if math.isinf(self.clip) else rate / self.clip

    @property
    def traits(self) -> Traits:
        """It takes a training for each noise that is tried, and one more."""
        trainings = 1 if self.accuracy is None else self.search + 1
        return Traits(relative_cost=COST * self.copies * trainings, publishes_synthetic=False)

    def empty(self, task: Blueprint) -> nn.Module:
        """Return the released model before its weights are loaded: the task's, with GroupNorm for BatchNorm."""
        from privbench.learn import classifier
        from privbench_dp.private_nets import private_net

        model = classifier(task)
        model.net = private_net(model.net)
        return model

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train with noise for the target epsilon, with the given noise, or with what the accuracy leaves room for.

        Raises Diverged; BadOption for a model that cannot be trained so; DataError where examples outside the pool are
        needed and there are none; CellFailed where no noise reaches the accuracy.
        """
        from privbench_dp.accounting import epsilon

        if self.accuracy is not None:
            noise, model = self._search(task, examples, ctx)
        else:
            noise = self._noise()
            model = self._train(task, examples, ctx, noise)
        facts = {
            "epsilon": epsilon(noise, self.rate, self.steps, self.delta, self.accountant),
            "delta": self.delta,
            "noise": noise,
            "clip": self.clip,
            "sampling_rate": self.rate,
            "steps": float(self.steps),
        }
        return Release(model, facts=facts if self.accuracy is None else facts | {"searched": 1.0})

    def _noise(self) -> float:
        """Return the noise that was asked for, or that the target epsilon asks for."""
        from privbench_dp.accounting import noise_for

        if self.noise is not None:
            return self.noise
        return noise_for(self.epsilon or EPSILON, self.rate, self.steps, self.delta, self.accountant)

    def _train(self, task: Blueprint, examples: Examples, ctx: Context, noise: float) -> nn.Module:
        """Train one model."""
        import torch
        from torch.nn import functional

        from privbench.learn import to_inputs
        from privbench_dp.augment import augmenting
        from privbench_dp.sgd import fit_privately

        with ctx.seeded("init"):
            model = self.empty(task)
        _standardise(model, task, ctx)
        allowed = None if examples.augment is None else torch.from_numpy(examples.augment.copy()).to(ctx.device)
        alter = augmenting(task.recipe, task.shape, allowed)

        def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(logits, labels, reduction="none")

        return fit_privately(
            model,
            to_inputs(examples.x),
            torch.tensor(examples.y),
            loss,
            ctx,
            noise=noise,
            clip=self.clip,
            rate=self.rate,
            steps=self.steps,
            lr=self.learning_rate(noise, len(examples)),
            optimizer=self.optimizer,
            momentum=self.momentum,
            schedule=self.schedule,
            alter=alter,
            copies=self.copies if alter else 1,
            ema=self.ema,
        )

    def _search(self, task: Blueprint, examples: Examples, ctx: Context) -> tuple[float, nn.Module]:
        """Return the largest noise that reaches the accuracy, and the model that was trained with it.

        Every training is kept in the store, so that an interrupted search goes on where it was.
        """
        import torch

        from privbench_dp.noise_search import largest_noise

        validation = ctx.validation
        if validation is None or not len(validation):
            raise DataError("dp-sgd: accuracy needs validation examples outside the pool, and this task has none.")
        options = {name: getattr(self, name) for name in KEPT} | {"validation": validation.fingerprint}
        trainings = self.search + 1
        done: dict[float, dict[str, Array]] = {}

        def reached(noise: float) -> float:
            def make(inner: Context) -> dict[str, Array]:
                return self._measured(task, examples, inner, noise)

            share = (len(done) / trainings, (len(done) + 1) / trainings)
            done[noise] = ctx.kept("dp-sgd", examples, {**options, "noise": noise}, make, share=share)
            return float(done[noise][ACCURACY])

        assert self.accuracy is not None
        noise = largest_noise(reached, self.accuracy, self.search)
        model = self.empty(task)
        weights = {name: torch.from_numpy(array) for name, array in done[noise].items() if name != ACCURACY}
        model.load_state_dict(weights)
        return noise, model.to(ctx.device).eval()

    def _measured(self, task: Blueprint, examples: Examples, ctx: Context, noise: float) -> dict[str, Array]:
        """Train one model; return its weights, and its accuracy on the validation examples."""
        import numpy as np

        from privbench.learn import predict

        model, validation = self._train(task, examples, ctx, noise), ctx.validation
        assert validation is not None
        right = predict(model, validation.x, device=ctx.device).argmax(axis=1) == validation.y
        weights = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
        return {**weights, ACCURACY: np.asarray(right.mean())}


def _standardise(model: Any, task: Blueprint, ctx: Context) -> None:
    """Fit the standardisation of the inputs on examples that are not private, or fix it for images."""
    if ctx.validation is not None and len(ctx.validation):
        model.fit(ctx.validation.x)
    elif len(task.shape) == IMAGE_DIMENSIONS:
        model.mean.fill_(0.5)
        model.std.fill_(0.25)
    else:
        raise DataError("dp-sgd: tables are standardised by validation examples, which are public, and there are none.")
