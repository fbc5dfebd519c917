"""HAMP's output filter: the order of the query's classes with the confidences of a random input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench_defenses.per_input import PastFilter, hashes, uniform

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

IMAGE_DIMENSIONS = 3
LEVELS = 256
MAGNITUDE = 2**31 - 1
"""All bits of a float32 but its sign."""


class RandomConfidences(nn.Module):
    """A model that tells of each query nothing but the order of its classes.

    shape: of one input as the model takes it, (channels, height, width) or (features,). Answers are logarithms of
    probabilities, float32. Gradients pass as if the filter were not there.
    """

    key: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.shape = model, shape
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))
        wide = () if len(shape) == IMAGE_DIMENSIONS else shape
        self.register_buffer("low", torch.zeros(wide))
        self.register_buffer("high", torch.ones(wide))

    def choose(self, key: Tensor, x: Array) -> None:
        """Set the secret; for tables also where random rows lie, from examples (n, features)."""
        self.key.copy_(key)
        if x.ndim == self.low.ndim + 1:
            mean, reach = x.mean(axis=0, dtype=np.float64), math.sqrt(3) * x.std(axis=0, dtype=np.float64)
            self.low.copy_(torch.from_numpy(mean - reach))
            self.high.copy_(torch.from_numpy(mean + reach))

    def random_inputs(self, x: Tensor) -> Tensor:
        """Return an input (n, *shape) of random pixels, grey levels of 8 bits, or random features, for each of x."""
        drawn = uniform(hashes(x, self.key), math.prod(self.shape)).view(len(x), *self.shape)
        if len(self.shape) == IMAGE_DIMENSIONS:
            return (drawn * LEVELS).floor() / (LEVELS - 1)
        return self.low + drawn * (self.high - self.low)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 inputs to the logarithms of confidences (n, classes)."""
        logits: Tensor = self.model(x)
        with torch.no_grad():
            confidences = functional.log_softmax(self.model(self.random_inputs(x)).float(), dim=1)
            answers = in_order_of(logits, confidences)
        passed: Tensor = PastFilter.apply(logits, answers)
        return passed


def in_order_of(logits: Tensor, values: Tensor) -> Tensor:
    """Return the values of each row, all different, sorted into the order of the logits; all (n, classes) float32.

    Of equal logits the first gets the larger value.
    """
    order = logits.sort(dim=1, descending=True, stable=True).indices
    falling = strictly_falling(values.sort(dim=1, descending=True).values)
    return torch.empty_like(falling).scatter_(1, order, falling)


def strictly_falling(values: Tensor) -> Tensor:
    """Return rows of falling float32 with each number that is not below the one before it lowered just enough.

    Floats in their order are integers in order: their bits, with the magnitude of negative ones negated. Among these,
    w_k = min over j <= k of (v_j - (k - j)) falls by at least 1 a place.
    """
    bits = values.view(torch.int32)
    places = torch.arange(values.shape[1], device=values.device)
    ranked = torch.where(bits < 0, -(bits & MAGNITUDE), bits).to(torch.int64)
    ranked = ((ranked + places).cummin(dim=1).values - places).to(torch.int32)
    return torch.where(ranked < 0, -ranked | ~MAGNITUDE, ranked).view(torch.float32)
