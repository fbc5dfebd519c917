"""Models as they are released: normalising inside, and queried one way by everybody."""

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
BATCH = 256  # on a CPU, a small convolutional net is twice as fast as with 1024, whose activations leave the cache
MOST = 8192
LARGEST = 1 << 29
"""Bytes of the largest tensor between two layers on a card, of which a few live at once."""
GATHERED = 1 << 29
"""Bytes of logits that wait on a card until they are copied to the host together."""
ROUNDING = 1e-7  # relative; what float32 cannot tell from a constant


def to_inputs(x: Array) -> Tensor:
    """Return examples as a CPU tensor of the same dtype: images as (n, channels, height, width), laid channels last.

    uint8 stays uint8, a quarter of the memory; `as_float` turns a batch into what models take.
    """
    tensor = torch.from_numpy(np.require(x, requirements=["C", "W"]))  # copies what is strided or read-only
    return tensor.permute(0, 3, 1, 2) if x.ndim == IMAGE_DIMENSIONS else tensor


def as_float(batch: Tensor) -> Tensor:
    """Return a batch as models take it: float32, uint8 pixels divided by 255."""
    return batch.float().div_(255) if batch.dtype == torch.uint8 else batch.float()


class Normalised(nn.Module):
    """A net behind the standardisation of its inputs, per channel of images and per feature of tables.

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
        """Take the mean and standard deviation of examples, in float64: of the members, and of nobody else.

        A channel or feature that is constant but for rounding is only centred.
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
    """Return the task's model, fresh and not yet normalising: mean 0, standard deviation 1."""
    return Normalised(task.model(), task.shape)


def take(inputs: Tensor, rows: Tensor) -> Tensor:
    """Return inputs[rows] in the layout that the inputs have, which plain indexing of channels-last images loses."""
    if inputs.is_contiguous():
        return inputs.index_select(0, rows)
    return inputs.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


@contextlib.contextmanager
def querying(model: nn.Module, device: str | torch.device) -> Iterator[Callable[[Tensor], Tensor]]:
    """Lend a function from inputs, as `to_inputs` lays them, to logits (b, classes) on the device, float32 throughout.

    Inside, the model is in eval mode on the device. Raises CellFailed where its answers change its buffers.
    """
    device, mode = torch.device(device), model.training
    model.to(device).eval()
    before = [buffer.clone() for buffer in model.buffers()]
    convolutions = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    weights = [weight.data for weight in convolutions]
    for weight in convolutions:  # laid as in training, faster; put back as they were
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
    """Return the logits (n, classes) float32 of examples, in eval mode; the model is left as it was found.

    Last bits depend on `batch`, as libraries choose kernels by size; `queries.ask` uses the same, by default
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
    """Return the logits (n, views, classes) float32 of all views of inputs, as `to_inputs` lays them.

    views: (a batch on the device) -> its variants. The logits stay on the device until they all go to the host at
    once, or, where they are many, a good part of them.
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
    """Return how many inputs a model is asked about at once: on a card thousands, as many as keep its tensors small.

    It follows from shapes alone, never from the memory that is free, for last bits depend on it. On a card the model
    is asked about one example more.
    """
    if torch.device(device).type == "cpu" or len(inputs) <= BATCH:
        return BATCH
    with Largest(model) as largest:
        answer(inputs[:1])
    fitting = max(1, LARGEST // max(1, largest.bytes))
    return int(min(max(BATCH, 2 ** (fitting.bit_length() - 1)), MOST))


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made in a block, but for what shows a model's own weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.bytes = 0
        self._own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing here is compiled, and to keep torch's compiler out would be to import it, in 1 s."""
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
