"""Optimisers of privbench's training loops: torch's fused kernels, called without the overhead of `torch.optim`.

For a small network that overhead is as long as the step. Their state exists from the start, so that the first step is
like all others and any can be recorded (steps.py). The arithmetic is bit-identical to that of `torch.optim`.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from privbench.contracts.recipe import Recipe

    Rate: TypeAlias = float | Tensor
    """A learning rate; on a card a float32 scalar, because a number would be recorded as a constant."""

FUSED = ("cpu", "cuda")
"""Types of devices with fused kernels; `torch.optim` is used elsewhere."""


class Optimiser(Protocol):
    """Protocol of an optimiser."""

    parameters: list[Tensor]

    def step(self, gradients: Sequence[Tensor | None], rate: Rate) -> None:
        """Update the parameters by their gradients; None leaves one unchanged."""
        ...


class SGD:
    """SGD with momentum, and weight decay as part of the gradient."""

    def __init__(self, parameters: Iterable[Tensor], *, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.parameters, self._momentum, self._decay = list(parameters), momentum, weight_decay
        self._velocities = [torch.zeros_like(each) for each in self.parameters] if momentum else []

    def step(self, gradients: Sequence[Tensor | None], rate: Rate) -> None:
        """Update the parameters."""
        given, parameters, velocities = _used(gradients, self.parameters, self._velocities)
        if not given:
            return
        with torch.no_grad():
            torch._fused_sgd_(
                parameters,
                given,
                velocities,
                weight_decay=self._decay,
                momentum=self._momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,  # a velocity of 0 is equivalent to none
            )


class Adam:
    """Adam; with `decoupled`, AdamW, whose weight decay is not part of the gradient."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        self.parameters, self._betas, self._decay = list(parameters), betas, weight_decay
        self._kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self._means = [torch.zeros_like(each) for each in self.parameters]
        self._squares = [torch.zeros_like(each) for each in self.parameters]
        self._steps = [torch.zeros((), device=each.device) for each in self.parameters]

    def step(self, gradients: Sequence[Tensor | None], rate: Rate) -> None:
        """Update the parameters."""
        given, parameters, means, squares, steps = _used(
            gradients, self.parameters, self._means, self._squares, self._steps
        )
        if not given:
            return
        with torch.no_grad():
            torch._foreach_add_(steps, 1)
            self._kernel(
                parameters,
                given,
                means,
                squares,
                [],
                steps,
                amsgrad=False,
                lr=rate,
                beta1=self._betas[0],
                beta2=self._betas[1],
                weight_decay=self._decay,
                eps=1e-8,
                maximize=False,
            )


class Torch:
    """An optimiser of torch, for devices without fused kernels."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser
        self.parameters = [each for group in optimiser.param_groups for each in group["params"]]

    def step(self, gradients: Sequence[Tensor | None], rate: Rate) -> None:
        """Update the parameters."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()


def sgd(parameters: Iterable[Tensor], *, momentum: float = 0.0, weight_decay: float = 0.0) -> Optimiser:
    """Return SGD for parameters on one device."""
    parameters = list(parameters)
    if _fusable(parameters):
        return SGD(parameters, momentum=momentum, weight_decay=weight_decay)
    return Torch(torch.optim.SGD(parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay))


def adam(
    parameters: Iterable[Tensor],
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Optimiser:
    """Return Adam, or AdamW if `decoupled`, for parameters on one device."""
    parameters = list(parameters)
    if _fusable(parameters):
        return Adam(parameters, betas=betas, weight_decay=weight_decay, decoupled=decoupled)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    return Torch(kind(parameters, lr=0.0, betas=betas, weight_decay=weight_decay))


def optimizer(net: nn.Module, recipe: Recipe) -> Optimiser:
    """Return the recipe's optimiser of a net on its device."""
    if recipe.optimizer == "adamw":
        return adam(net.parameters(), weight_decay=recipe.weight_decay, decoupled=True)
    return sgd(net.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def descend(optimiser: Optimiser, loss: Tensor, rate: Rate) -> None:
    """Take one step along the gradient of a loss; gradients are computed for the optimiser's parameters only."""
    optimiser.step(torch.autograd.grad(loss, optimiser.parameters, allow_unused=True), rate)


def _fusable(parameters: Sequence[Tensor]) -> bool:
    """Return whether there is a fused kernel for the parameters: on a card they must have one dtype."""
    return parameters[0].device.type in FUSED and len({each.dtype for each in parameters}) == 1


def _used(gradients: Sequence[Tensor | None], *columns: list[Tensor]) -> list[list[Tensor]]:
    """Return the existing gradients, and the corresponding elements of each column, if it has any.

    The first column are the parameters, whose memory layout the gradients get: fused kernels depend on memory alone.
    """
    there = [gradient is not None for gradient in gradients]
    if not all(there):
        columns = tuple(list(compress(column, there)) for column in columns)
    given = (gradient for gradient in gradients if gradient is not None)
    return [[_laid_as(*pair) for pair in zip(columns[0], given, strict=True)], *columns]


def _laid_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
