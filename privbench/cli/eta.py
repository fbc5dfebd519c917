"""How much of a run is done, where some models take a hundred times as long as others."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

SHORTEST = 1e-3
"""Seconds; a job that took none would weigh nothing."""


class Work:
    """Jobs of several kinds: each weighs what jobs of its kind took so far, and before that what it is said to cost.

    kinds: of each job; costs: what each is said to cost beside the others, in any unit.
    """

    def __init__(self, kinds: Sequence[Hashable], costs: Sequence[float]) -> None:
        self._kinds, self._costs = list(kinds), list(costs)
        self._done = [0.0] * len(self._kinds)
        self._seconds: dict[Hashable, list[float]] = defaultdict(list)
        self._units: list[float] = []

    def progress(self, job: int, done: float) -> None:
        """Say how much of a job is done, in [0, 1]."""
        if job < len(self._done):
            self._done[job] = done

    def ended(self, job: int, seconds: float) -> None:
        """Say how long a job took."""
        self.progress(job, 1.0)
        seconds = max(seconds, SHORTEST)
        if job < len(self._kinds):
            self._seconds[self._kinds[job]].append(seconds)
            self._units.append(seconds / self._costs[job])

    @property
    def begun(self) -> float:
        """Return the number of jobs that are done, with parts."""
        return sum(self._done)

    @property
    def fraction(self) -> float:
        """Return the share of all work that is done, in [0, 1]."""
        unit = float(np.median(self._units)) if self._units else 1.0
        means = {kind: float(np.mean(seconds)) for kind, seconds in self._seconds.items()}
        weights = [means.get(kind, cost * unit) for kind, cost in zip(self._kinds, self._costs, strict=True)]
        total = sum(weights)
        return sum(map(float.__mul__, weights, self._done)) / total if total else 1.0
