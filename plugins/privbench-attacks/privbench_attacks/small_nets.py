"""Small networks that classify members: one for each group of rows, trained simultaneously and independently.

This module imports torch, so attacks import it where they score.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench.learn import Steps

Array: TypeAlias = npt.NDArray[Any]

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-3
BATCH = 64
HELD_OUT = 0.2
FEWEST = 10
"""Rows of a group below which nothing is learnt about it."""


@dataclass(frozen=True)
class Known:
    """Rows (m, d) float64 of known membership, the group of each (m,) int, and whether it is a member's (m,) bool."""

    rows: Array
    group: Array
    member: Array


class Stack(nn.Module):
    """As many equal ReLU nets as there are groups: (groups, rows, features) -> log-odds (groups, rows).

    sizes: features, then the width of each hidden layer. Weights are drawn from the generator, and from nowhere else.
    """

    def __init__(self, groups: int, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        wide = [*sizes, 1]
        shapes = [(groups, into, out) for into, out in itertools.pairwise(wide)]
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(shape, generator=generator) * math.sqrt(2 / shape[1])) for shape in shapes]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(groups, 1, out)) for _, _, out in shapes])

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of "member"."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, functional.relu(x) if layer else x, weight)
        return x[..., 0]


def log_odds(
    known: Known,
    asked: Array,
    group: Array,
    *,
    rng: np.random.Generator,
    hidden: tuple[int, ...],
    epochs: int,
) -> Array:
    """Return the log-odds of "member" of the rows that are asked about, (k,) float64, each by its own group's net.

    asked: (k, d) float64; group: (k,) int.
    Of the epochs' weights a group keeps those with the lowest loss on a fifth of its known rows, which are held out of
    its training. A group of which too little is known, or members only, or none, answers 0.
    """
    names = [name for name in np.unique(known.group) if _enough(known.member[known.group == name])]
    scores = np.zeros(len(asked))
    rows_of = [np.flatnonzero(group == name) for name in names]
    answered = [at for at, rows in enumerate(rows_of) if len(rows)]
    if not answered:
        return scores
    center, scale = known.rows.mean(axis=0), known.rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    train, held = zip(*(_split(np.flatnonzero(known.group == names[at]), rng) for at in answered), strict=True)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    net = Stack(len(answered), (known.rows.shape[1], *hidden), generator)
    rows, truth = _tensor((known.rows - center) / scale), _tensor(known.member)
    fit(net, rows, truth, train=_padded(train), held=_padded(held), generator=generator, epochs=epochs)
    places = _padded([rows_of[at] for at in answered])
    with torch.inference_mode():
        scores[places.numpy()] = net(_tensor((asked - center) / scale)[places]).double().numpy()
    return scores


def fit(
    net: Stack, rows: Tensor, truth: Tensor, *, train: Tensor, held: Tensor, generator: torch.Generator, epochs: int
) -> None:
    """Train all nets, and leave each with the weights of its best epoch on what is held out.

    rows: (m, d) float32; truth: (m,) float32, 0 or 1; train, held: (groups, ...) row numbers of each group; all of them
    on the device of the nets. generator: of the CPU.
    """
    kind = rows.device.type
    optimiser = torch.optim.AdamW(
        net.parameters(),
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        fused=kind in ("cpu", "cuda"),
        capturable=kind == "cuda",
    )
    least = torch.full((len(train),), math.inf, device=rows.device)
    best = [parameter.detach().clone() for parameter in net.parameters()]

    def one(batch: Tensor) -> None:
        optimiser.zero_grad()
        # A sum over groups: no net's gradient sees another's rows.
        loss(net, rows, truth, batch).sum().backward()
        optimiser.step()

    steps = Steps(rows.device, "small nets")
    for _ in range(epochs):
        order = train.gather(1, torch.rand(train.shape, generator=generator).argsort(dim=1).to(rows.device))
        for batch in order.split(BATCH, dim=1):
            steps.run(one, batch[None])
        with torch.no_grad():
            found = loss(net, rows, truth, held)
            better = (found < least)[:, None, None]
            least = torch.minimum(found, least)
            for kept, parameter in zip(best, net.parameters(), strict=True):
                kept.copy_(torch.where(better, parameter, kept))
    with torch.no_grad():
        for kept, parameter in zip(best, net.parameters(), strict=True):
            parameter.copy_(kept)


def loss(net: Stack, rows: Tensor, truth: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean cross-entropy of each group, (groups,), on its chosen rows (groups, b)."""
    found = functional.binary_cross_entropy_with_logits(net(rows[chosen]), truth[chosen], reduction="none")
    return found.mean(dim=1)


def _enough(member: Array) -> bool:
    return len(member) >= FEWEST and bool(member.any()) and not member.all()


def _split(rows: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return rows to train on, and rows that are held out, in random order."""
    order = rng.permutation(rows)
    held = int(HELD_OUT * len(rows))
    return order[held:], order[:held]


def _padded(rows: list[Array] | tuple[Array, ...]) -> Tensor:
    """Return row numbers as one table, (groups, longest); shorter groups begin again."""
    longest = max(map(len, rows))
    return torch.from_numpy(np.stack([np.resize(each, longest) for each in rows]))


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
