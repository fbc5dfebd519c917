"""Completed share of a run whose models differ in cost by up to a factor of a hundred."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

SHORTEST = 1e-3
"""Seconds; a job of 0 s would have no weight."""


class Work:
    """Jobs of several kinds: the weight of a job is the mean time of its kind so far, or its expected cost before.

    kinds: of each job
    costs: expected cost of each job relative to the others, in any unit
    """

    def __init__(self, kinds: Sequence[Hashable], costs: Sequence[float]) -> None:
        self._kinds, self._costs = list(kinds), list(costs)
        self._done = [0.0] * len(self._kinds)
        self._seconds: dict[Hashable, list[float]] = defaultdict(list)
        self._units: list[float] = []

    def progress(self, job: int, done: float) -> None:
        """Report the completed part of a job, in [0, 1]."""
        if job < len(self._done):
            self._done[job] = done

    def ended(self, job: int, seconds: float) -> None:
        """Report the duration of a job."""
        self.progress(job, 1.0)
        seconds = max(seconds, SHORTEST)
        if job < len(self._kinds):
            self._seconds[self._kinds[job]].append(seconds)
            self._units.append(seconds / self._costs[job])

    @property
    def begun(self) -> float:
        """Return the number of completed jobs, including partial ones."""
        return sum(self._done)

    @property
    def fraction(self) -> float:
        """Return the completed share of all work, in [0, 1]."""
        unit = float(np.median(self._units)) if self._units else 1.0
        means = {kind: float(np.mean(seconds)) for kind, seconds in self._seconds.items()}
        weights = [means.get(kind, cost * unit) for kind, cost in zip(self._kinds, self._costs, strict=True)]
        total = sum(weights)
        return sum(map(float.__mul__, weights, self._done)) / total if total else 1.0
