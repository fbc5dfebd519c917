"""Common parts of output filters: random numbers from the input alone, the label, and gradients past the filter.

Noise that is redrawn for every query could be averaged out, and noise from a generator would differ between batches.
Therefore each input's bits, with a secret key of the release, are hashed on its device, and all its random numbers are
functions of the hash: the same for every repetition, in every batch, on every device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from privbench.api import Context

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MIX_1, MIX_2 = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
UNIFORM_BITS = 24
"""What float32 holds exactly, as not all devices have doubles."""


def secret(ctx: Context) -> Tensor:
    """Return the key of one release, () int64: noise that an attacker can compute would hide little."""
    return torch.randint(2**62, (), generator=ctx.generator("key"))


def hashes(x: Tensor, key: Tensor) -> Tensor:
    """Return (n,) int64, one hash of the float32 bits of each input (n, ...) and the key (), whatever its batch."""
    bits = (x.float() + 0.0).flatten(1).contiguous().view(torch.int32).to(torch.int64)  # + 0.0: -0 is 0
    places = _mix(torch.arange(bits.shape[1], device=x.device) * GOLDEN + key)
    return _mix(_mix(bits ^ places).sum(dim=1) + key)


def uniform(hashed: Tensor, count: int) -> Tensor:
    """Return (n, count) float32 in [0, 1), multiples of 2^-24, from n hashes."""
    steps = torch.arange(1, count + 1, device=hashed.device) * GOLDEN
    mixed = _mix(hashed[:, None] + steps)
    return _shifted(mixed, 64 - UNIFORM_BITS).float() * 2.0**-UNIFORM_BITS


def labels_of(logits: Tensor) -> Tensor:
    """Return (n,) int64: the first of the largest, as NumPy's argmax; of equal ones torch's may be any."""
    places = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
    largest = logits == logits.max(dim=1, keepdim=True).values
    return places.masked_fill(~largest, logits.shape[1]).min(dim=1).values


def relabelled(answers: Tensor, labels: Tensor) -> Tensor:
    """Return answers (n, classes) that have these labels: where rounding gave another, the next larger float is put."""
    above = torch.nextafter(answers.max(dim=1, keepdim=True).values, answers.new_tensor(torch.inf))
    wrong = labels_of(answers) != labels
    chosen = torch.nn.functional.one_hot(labels, answers.shape[1]).bool()
    return torch.where(wrong[:, None] & chosen, above, answers)


class PastFilter(torch.autograd.Function):
    """The filter's predictions, with the gradient of the logits behind it: white-box access sees through a filter."""

    @staticmethod
    def forward(_ctx: Any, _logits: Tensor, answers: Tensor) -> Tensor:
        """Return the answers."""
        return answers.clone()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient on as if nothing were between."""
        return gradients[0], None


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """Shift 64 bits right as if they had no sign."""
    return (numbers >> by) & ((1 << (64 - by)) - 1)


def _mix(numbers: Tensor) -> Tensor:
    """Scatter 64 bits over 64 bits (the finaliser of splitmix64, Steele, Lea & Flood 2014), modulo 2^64."""
    numbers = (numbers ^ _shifted(numbers, 30)) * MIX_1
    numbers = (numbers ^ _shifted(numbers, 27)) * MIX_2
    return numbers ^ _shifted(numbers, 31)
