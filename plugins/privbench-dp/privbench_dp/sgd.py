"""Differentially private training loop, for classifiers, autoencoders and all models with a loss per example.

    net = fit_privately(net, inputs, targets, loss, ctx, noise=1.5, clip=1.0, rate=0.25, steps=200)

Each step draws a Poisson sample of the examples, clips the gradient of each one's total loss to norm `clip`, adds
Gaussian noise of standard deviation `noise * clip` to their sum, and divides by the expected size of the sample (Abadi
et al., CCS 2016). Opacus gives the gradients per example. Clipping is done here: Opacus's DPOptimizer draws its noise
on the device, cannot average the copies of one example before it clips, and makes NaN of clip=inf.

The noise comes from a generator that is seeded by the context, so that a run can be repeated. With the seed the noise
can be removed: the guarantee only holds against attackers without it.

On a card steps are replayed (privbench.learn.steps), which takes samples of one size: see `privbench_dp.samples`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from privbench.errors import BadOption, DataError, Diverged
from privbench.learn import Steps, exact, lent, rates, recorded, set_rate
from privbench_dp.gradients import per_example_gradients
from privbench_dp.mechanism import clipped_sum, draw_noise
from privbench_dp.samples import Samples

if TYPE_CHECKING:
    from privbench.api import Context
    from privbench_dp.samples import Alter

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
"""(outputs of the network for b inputs, their targets) -> (b,) losses, each of its own example alone."""

REPORT_SECONDS = 0.2
LARGE = "its samples are worked on in many parts, each of which takes a card longer than to launch it"


def fit_privately(
    net: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    ctx: Context,
    *,
    noise: float,
    clip: float,
    rate: float,
    steps: int,
    lr: float = 0.5,
    optimizer: Literal["sgd", "adam"] = "sgd",
    momentum: float = 0.9,
    schedule: Literal["constant", "cosine"] = "constant",
    copies: int = 1,
    alter: Alter | None = None,
    ema: float = 0.0,
) -> nn.Module:
    """Train a net in place, and return it on the context's device in eval mode.

    inputs: (n, ...), uint8 (divided by 255 in a batch) or float32; targets: (n, ...). loss: one number per example, of
    which the total gradient is clipped. noise: standard deviation over clip; clip: largest norm of one example's
    gradient; rate: probability that an example is in a step; steps: logical steps. lr: peak learning rate, which
    `schedule` moves once per logical step. alter, copies: each example is in a step as that many altered copies, whose
    gradients are averaged before they are clipped. ema: decay of an average of the weights, which is returned in place
    of the last ones (0: none).

    Only parameters that require gradients are trained. Raises Diverged when a loss or weight is not finite, DataError
    without examples, BadOption for a net that has no per-example gradients or changes its buffers.
    """
    _check(len(inputs), noise=noise, clip=clip, rate=rate, steps=steps)
    device = torch.device(ctx.device)
    net.to(device).train()
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    buffers = [buffer.clone() for buffer in net.buffers()]
    optimiser, average = _optimiser(parameters, optimizer, lr, momentum), _Average(parameters, ema)
    samples = Samples(
        inputs.to(device),
        targets.to(device),
        ctx,
        rate=rate,
        copies=copies,
        alter=alter,
        weights=sum(parameter.numel() for parameter in parameters),
    )
    gaussian, own = (_moved(ctx.generator(name), device) for name in ("noise", "dropout"))
    total, reported = torch.zeros((), device=device), 0.0

    def one(rate: float | Tensor, pace: float | Tensor, *sample: Tensor) -> None:
        set_rate(optimiser, rate)
        drawn = draw_noise(parameters, noise * clip if noise else 0.0, gaussian)
        parts, expected = samples.parts(*sample), samples.expected
        total.add_(
            private_step(wrapped, optimiser, parts, drawn, loss=loss, clip=clip, expected=expected, copies=copies)
        )
        average.update(pace)

    every = rates([_rate(lr, schedule, done / steps) for done in range(steps)], device)
    paces = torch.tensor([pace(ema, done) for done in range(steps)], device=device)
    loop = Steps(device, "private training", generators=[gaussian, own], eager="" if samples.unrollable else LARGE)
    with ctx.seeded("train"), exact(device), lent(net, own), per_example_gradients(net) as wrapped:
        for done in range(0, steps, samples.ahead):
            now = slice(done, min(steps, done + samples.ahead))
            loop.run(one, every[now], paces[now], *samples.draw(now.stop - done))
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                if not math.isfinite(float(total)):
                    break
                ctx.progress(now.stop / steps)
    average.assign()
    if not math.isfinite(float(total)) or not all(bool(weights.isfinite().all()) for weights in parameters):
        raise Diverged(f"Private training diverged; try a lower learning rate (lr={lr / 10:g}).")
    if not all(map(torch.equal, buffers, net.buffers())):
        raise BadOption("This model keeps statistics of its batches in buffers, and no noise protects those.")
    ctx.progress(1.0)
    return net.eval()


def private_step(
    wrapped: nn.Module,
    optimiser: torch.optim.Optimizer,
    parts: Iterable[Sequence[Tensor]],
    noise: list[Tensor],
    *,
    loss: Loss,
    clip: float,
    expected: float,
    copies: int = 1,
) -> Tensor:
    """Take one logical step and return the sum of its losses, detached and on the device.

    wrapped: by `per_example_gradients`. parts: the sample, in parts that fit in memory, as inputs (b * copies, ...),
    targets (b * copies, ...), the copies of one example side by side, and whether examples count, (b,) of 1 and 0.
    noise: one tensor for each parameter. expected: the mean size of a sample. Without parts, of an empty sample, the
    step is all noise.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    sums, total = list(noise), torch.zeros((), device=noise[0].device)
    for inputs, targets, counts in parts:
        losses = loss(wrapped(inputs), targets)
        if losses.shape != (len(inputs),):
            raise ValueError(
                f"The loss is of shape {tuple(losses.shape)}; expected one number for each of {len(inputs)}."
            )
        losses.sum().backward()
        gradients = [_gradients(parameter, len(inputs), copies) for parameter in parameters]
        clipped, _ = clipped_sum(gradients, clip, counts)
        sums = [one + other for one, other in zip(sums, clipped, strict=True)]
        total += (losses.detach() * counts.repeat_interleave(copies)).sum() / copies
        for parameter in parameters:
            parameter.grad = parameter.grad_sample = None
    for parameter, gradient in zip(parameters, sums, strict=True):
        parameter.grad = gradient.view_as(parameter).div(expected)
    optimiser.step()
    for parameter in parameters:
        parameter.grad = None
    return total


def _gradients(parameter: nn.Parameter, rows: int, copies: int) -> Tensor:
    """Return the gradients of each example, averaged over its copies: (rows / copies, size)."""
    gradients = parameter.grad_sample
    if gradients is None and parameter.grad is None:  # a parameter that this loss does not use
        return torch.zeros(rows // copies, parameter.numel(), device=parameter.device)
    if gradients is None or len(gradients) != rows:
        raise BadOption("Opacus finds no gradients per example for a layer of this model.")
    if copies == 1:
        return gradients.reshape(rows, -1)
    return gradients.reshape(rows // copies, copies, -1).mean(dim=1)


class _Average:
    """A moving average of weights; with decay 0 nothing."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.values = [parameter.detach().clone() for parameter in parameters] if decay else []

    def update(self, pace: float | Tensor) -> None:
        """Move towards the weights."""
        for value, parameter in zip(self.values, self.parameters, strict=False):
            value.lerp_(parameter.detach(), pace)

    def assign(self) -> None:
        """Put the average in the place of the weights."""
        for value, parameter in zip(self.values, self.parameters, strict=False):
            parameter.data.copy_(value)


def pace(decay: float, done: int) -> float:
    """Return how far an average moves; in the first steps farther, or the initial weights would stay in for long."""
    return 1 - min(decay, (1 + done) / (10 + done))


def _rate(lr: float, schedule: str, done: float) -> float:
    return lr * (1 + math.cos(math.pi * done)) / 2 if schedule == "cosine" else lr


def _moved(generator: torch.Generator, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(generator.initial_seed())


def _optimiser(parameters: list[nn.Parameter], name: str, lr: float, momentum: float) -> torch.optim.Optimizer:
    device = parameters[0].device
    fused = True if recorded(device) else None  # only then it takes the rate as a tensor
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, fused=fused, capturable=device.type == "cuda")
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, fused=fused)


def _check(n: int, *, noise: float, clip: float, rate: float, steps: int) -> None:
    if not n:
        raise DataError("There are no examples to train on.")
    if not 0 < rate <= 1:
        raise BadOption(f"rate={rate:g}: the probability that an example is in a step lies in (0, 1].")
    if not clip > 0 or not noise >= 0 or steps < 1:
        raise BadOption(f"clip={clip:g}, noise={noise:g}, steps={steps}: expected clip > 0, noise >= 0 and steps >= 1.")
    if math.isinf(clip) and noise:
        raise BadOption(f"clip=inf with noise={noise:g}: noise that is a multiple of no bound is not defined.")
