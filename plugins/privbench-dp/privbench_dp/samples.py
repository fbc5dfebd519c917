"""Samples of private training: drawn in advance of the steps, and processed in parts that fit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from privbench.learn import as_float, recorded, take
from privbench_dp.mechanism import poisson_sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from privbench.api import Context

GRADIENTS, MOST = 1 << 25, 512
"""Bytes of per-example gradients held at once, and examples: what fits a cache is clipped faster."""
CARD_GRADIENTS, CARD_MOST = 1 << 30, 4096
"""The same on a card, which is idle on little."""
AHEAD = 32
"""Steps whose samples are drawn at once there."""
FILLED = 16
"""What sizes of samples are rounded up to there: this many examples, or this share of the expected ones."""
UNROLLED = 16
"""Parts of a sample beyond which a card takes longer for each than it takes to launch it."""


class Alter(Protocol):
    """Makes other examples of examples: crops them, say."""

    def draw(self, n: int, generator: torch.Generator, /) -> Tensor:
        """Return (n, ...): the random numbers of n alterations, from a CPU generator."""
        ...

    def __call__(self, inputs: Tensor, rows: Tensor, drawn: Tensor, /) -> Tensor:
        """Return `inputs[rows]`, each altered in its own way, by its row of what was drawn. rows: (m,) int64."""
        ...


class Samples:
    """Poisson samples of examples, each of them as so many copies, altered or not.

    Samples have another size each, and what a card is to replay has one (privbench.learn): where steps are recorded
    they are filled up to the size of the largest of some, with rows that count 0 times.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        ctx: Context,
        *,
        rate: float,
        copies: int,
        alter: Alter | None,
        weights: int,
    ) -> None:
        self.inputs, self.targets, self.rate, self.copies, self.alter = inputs, targets, rate, copies, alter
        self.expected = rate * len(inputs)
        self._sampling, self._altering = ctx.generator("sample"), ctx.generator("alter")
        card = recorded(inputs.device)
        gradients, most = (CARD_GRADIENTS, CARD_MOST) if card else (GRADIENTS, MOST)
        self.ahead = AHEAD if card else 1
        """Steps to draw at once."""
        self._multiple = max(FILLED, round(self.expected / FILLED)) if card else 1
        self._part = max(1, min(most, gradients // (4 * weights)) // copies)

    @property
    def unrollable(self) -> bool:
        """Whether all parts of a sample can be in one step that is recorded."""
        return self.expected <= UNROLLED * self._part

    def draw(self, steps: int) -> list[Tensor]:
        """Return tables, for steps to come, of what `parts` takes."""
        drawn = [poisson_sample(len(self.inputs), self.rate, self._sampling) for _ in range(steps)]
        rows, counts = filled(drawn, self._multiple)
        tables = [rows.repeat_interleave(self.copies, dim=1), counts]
        if self.alter is not None:
            sizes = [len(part) * self.copies for part in counts[0].split(self._part)]
            tables.append(torch.stack([self._alterations(self.alter, sizes) for _ in range(steps)]))
        return [table.to(self.inputs.device) for table in tables]

    def parts(self, rows: Tensor, counts: Tensor, drawn: Tensor | None = None) -> Iterator[tuple[Tensor, ...]]:
        """Yield a sample in parts: inputs as the net takes them, targets, and which examples count; nothing of none."""
        size = self._part * self.copies
        altered = [None] * len(counts) if drawn is None else drawn.split(size)
        for chosen, counted, numbers in zip(rows.split(size), counts.split(self._part), altered, strict=False):
            if len(counted):
                made = take(self.inputs, chosen) if numbers is None else self._altered(chosen, numbers)
                yield as_float(made), self.targets.index_select(0, chosen), counted

    def _altered(self, rows: Tensor, numbers: Tensor) -> Tensor:
        assert self.alter is not None
        return self.alter(self.inputs, rows, numbers)

    def _alterations(self, alter: Alter, sizes: list[int]) -> Tensor:
        return torch.cat([alter.draw(size, self._altering) for size in sizes])


def filled(samples: list[Tensor], multiple: int) -> tuple[Tensor, Tensor]:
    """Return samples as one table of rows (k, b), and which of them count, (k, b) float32 of 1 and 0.

    b is that of the largest sample, rounded up; a smaller one is filled with its own first row, an empty one with 0.
    """
    size = -(-max(map(len, samples)) // multiple) * multiple
    rows, counts = torch.zeros(len(samples), size, dtype=torch.int64), torch.zeros(len(samples), size)
    for row, count, sample in zip(rows, counts, samples, strict=True):
        row[:] = sample[0] if len(sample) else 0
        row[: len(sample)], count[: len(sample)] = sample, 1
    return rows, counts
