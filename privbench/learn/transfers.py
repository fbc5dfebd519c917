"""Transfers between host and device, combined, because every copy makes the host wait for the device."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from privbench.aliases import Array
    from privbench.data.dataset import Dataset

AT_HAND = 6
"""Number of inputs that a process keeps on a card: three roles of two data sets."""
LARGEST = 1 << 30
"""Maximum bytes of inputs kept there; larger ones are moved batch by batch."""


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return tensors as arrays, in order: from a card with one copy for each dtype, from the CPU without any."""
    import torch

    found = {name: tensor.detach() for name, tensor in tensors.items()}
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, tensor in found.items():
        if tensor.device.type != "cpu":
            kinds.setdefault((str(tensor.device), str(tensor.dtype)), []).append(name)
    for names in kinds.values():
        flat = torch.cat([found[name].reshape(-1) for name in names]).cpu()
        parts = flat.split([found[name].numel() for name in names])
        found |= {name: part.view(found[name].shape) for name, part in zip(names, parts, strict=True)}
    return {name: tensor.numpy() for name, tensor in found.items()}


def arrays_of(module: nn.Module, prefix: str = "") -> dict[str, Array]:
    """Return a module's weights and buffers as arrays, for `ctx.kept` and for a release's notes."""
    return to_host({prefix + name: tensor for name, tensor in module.state_dict().items()})


def load_arrays(module: nn.Module, arrays: Mapping[str, Array], prefix: str = "") -> nn.Module:
    """Load arrays from `arrays_of` into a module, and return it in eval mode."""
    import torch

    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    weights = {name: torch.from_numpy(array.copy()) for name, array in own.items()}
    module.load_state_dict(weights)
    return module.eval()


def inputs_of(dataset: Dataset, role: str, device: str) -> Tensor:
    """Return the inputs of one role, laid out as by `to_inputs`: on a card, moved once for all models of a process.

    It is the same tensor on every call, so do not change it. Inputs that are too large stay on the CPU.
    """
    from privbench.learn.inference import to_inputs

    size = len(dataset.rows(role)) * dataset.examples.x[:1].nbytes
    return to_inputs(dataset.role(role).x) if device == "cpu" or size > LARGEST else _moved(dataset, role, device)


@functools.lru_cache(maxsize=AT_HAND)
def _moved(dataset: Dataset, role: str, device: str) -> Tensor:
    import torch

    from privbench.learn.inference import to_inputs

    moved = to_inputs(dataset.role(role).x).to(device)
    if moved.device.type == "cuda":
        torch.cuda.current_stream(moved.device).synchronize()  # the streams of other lanes read it too
    return moved
