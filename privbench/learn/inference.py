"""Released models: normalisation included, and one way to query them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from privbench.errors import CellFailed
from privbench.learn.kernels import exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from privbench.aliases import Array
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples

__all__ = [
    "BATCH",
    "Largest",
    "Normalised",
    "answers",
    "as_float",
    "batch_size",
    "classifier",
    "exact",
    "mean_loss",
    "predict",
    "querying",
    "take",
    "to_inputs",
]

IMAGE_DIMENSIONS = 4
CHUNK = 1024
BATCH = 256  # on a CPU, a small convolutional network is twice as fast as with 1024, whose activations leave the cache
MOST = 8192
LARGEST = 1 << 29
"""Bytes of the largest tensor between two layers on a card; a few exist at the same time."""
GATHERED = 1 << 29
"""Bytes of logits collected on a card before they are copied to the host."""
ROUNDING = 1e-7  # relative; variation that float32 cannot distinguish from a constant


def to_inputs(x: Array) -> Tensor:
    """Return examples as a CPU tensor of the same dtype: images as (n, channels, height, width), channels last.

    uint8 stays uint8, a quarter of the memory; `as_float` converts a batch to model inputs.
    """
    tensor = torch.from_numpy(np.require(x, requirements=["C", "W"]))  # copies strided or read-only arrays
    return tensor.permute(0, 3, 1, 2) if x.ndim == IMAGE_DIMENSIONS else tensor


def as_float(batch: Tensor) -> Tensor:
    """Return a batch as model inputs: float32, uint8 pixels divided by 255."""
    return batch.float().div_(255) if batch.dtype == torch.uint8 else batch.float()


class Normalised(nn.Module):
    """A network preceded by the standardisation of its inputs, per channel of images and per feature of tables.

    The statistics are buffers: they are released, stored and loaded with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net = net
        statistics = (shape[0], *(1 for _ in shape[1:]))
        self.register_buffer("mean", torch.zeros(statistics))
        self.register_buffer("std", torch.ones(statistics))

    def fit(self, x: Array) -> None:
        """Set the mean and standard deviation to those of examples, in float64: of the members only.

        A channel or feature that is constant except for rounding is only centred.
        """
        axes, scale = tuple(range(x.ndim - 1)), 255 if x.dtype == np.uint8 else 1
        mean = x.mean(axis=axes, dtype=np.float64)
        squares = sum(np.square(x[i : i + CHUNK] - mean).sum(axis=axes) for i in range(0, len(x), CHUNK))
        std = np.sqrt(squares / (x.size // x.shape[-1]))
        std = np.where(std > ROUNDING * np.abs(mean), std / scale, 1.0)
        self.mean.copy_(torch.from_numpy(mean / scale).view_as(self.mean))
        self.std.copy_(torch.from_numpy(std).view_as(self.std))

    def standardise(self, x: Tensor) -> Tensor:
        """Return (x - mean) / std."""
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 inputs, images in [0, 1], to logits."""
        logits: Tensor = self.net(self.standardise(x))
        return logits


def classifier(task: Blueprint) -> Normalised:
    """Return a fresh task model without normalisation yet: mean 0, standard deviation 1."""
    return Normalised(task.model(), task.shape)


def take(inputs: Tensor, rows: Tensor) -> Tensor:
    """Return inputs[rows] with the memory layout of the inputs, which indexing of channels-last images would lose."""
    if inputs.is_contiguous():
        return inputs.index_select(0, rows)
    return inputs.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


@contextlib.contextmanager
def querying(model: nn.Module, device: str | torch.device) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a function from inputs, laid out as by `to_inputs`, to logits (b, classes) on the device, in float32.

    Inside, the model is in eval mode on the device. Raises CellFailed if queries change the model's buffers.
    """
    device, mode = torch.device(device), model.training
    model.to(device).eval()
    before = [buffer.clone() for buffer in model.buffers()]
    convolutions = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    weights = [weight.data for weight in convolutions]
    for weight in convolutions:  # the faster layout of training; restored afterwards
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def answer(inputs: Tensor) -> Tensor:
        logits: Tensor = model(as_float(inputs.to(device))).float()
        return logits

    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False), exact(device):
            yield answer
    finally:
        for weight, data in zip(convolutions, weights, strict=True):
            weight.data = data
        model.train(mode)
    if not all(map(torch.equal, before, model.buffers())):
        raise CellFailed("the model changes its buffers (BatchNorm's statistics?) while it answers queries.")


def predict(model: nn.Module, x: Array, *, device: str | torch.device, batch: int | None = None) -> Array:
    """Return the logits (n, classes) float32 of examples, in eval mode; the state of the model is restored.

    The last bits depend on `batch`, as libraries select kernels by size; `queries.ask` uses the same, by default
    `batch_size`.
    """
    logits: Array = answers(model, to_inputs(x), lambda batch: [batch], device=device, batch=batch)[:, 0]
    return logits


def answers(
    model: nn.Module,
    inputs: Tensor,
    views: Callable[[Tensor], Iterable[Tensor]],
    *,
    device: str | torch.device,
    batch: int | None = None,
) -> Array:
    """Return the logits (n, views, classes) float32 of all views of inputs, laid out as by `to_inputs`.

    views: (a batch on the device) -> its variants

    The logits stay on the device and are copied to the host together, or in several large parts if there are many.
    """
    waiting: list[Tensor] = []
    gathered: list[Tensor] = []
    with querying(model, device) as answer:
        for some in inputs.split(batch or batch_size(model, inputs, device, answer)):
            waiting.append(torch.stack([answer(view) for view in views(some.to(device))], dim=1))
            if sum(logits.nbytes for logits in waiting) >= GATHERED:
                gathered.append(torch.cat(waiting).cpu())
                waiting.clear()
        gathered += [torch.cat(waiting).cpu()] if waiting else []
        logits: Array = (gathered[0] if len(gathered) == 1 else torch.cat(gathered)).numpy()
    return logits


def batch_size(model: nn.Module, inputs: Tensor, device: str | torch.device, answer: Callable[[Tensor], Tensor]) -> int:
    """Return the number of inputs per query batch: on a card thousands, as many as keep its tensors small.

    It depends on shapes alone, never on free memory, because last bits depend on it. On a card it takes one additional
    query to the model.
    """
    if torch.device(device).type == "cpu" or len(inputs) <= BATCH:
        return BATCH
    with Largest(model) as largest:
        answer(inputs[:1])
    fitting = max(1, LARGEST // max(1, largest.bytes))
    return int(min(max(BATCH, 2 ** (fitting.bit_length() - 1)), MOST))


class Largest(TorchDispatchMode):
    """Records the bytes of the largest tensor created in a block, except for views of the model's weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.bytes = 0
        self._own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing here is compiled, and disabling torch's compiler would import it, in 1 s."""
        return False

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self._own:
                self.bytes = max(self.bytes, tensor.nbytes)
        return made


def mean_loss(model: nn.Module, examples: Examples, *, device: str | torch.device) -> float:
    """Return the mean cross-entropy of a model on examples, for a release's facts."""
    logits = torch.from_numpy(predict(model, examples.x, device=device)).double()
    return float(functional.cross_entropy(logits, torch.tensor(examples.y)))
