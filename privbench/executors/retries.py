"""What is tried again: calls that failed beside others, or whose worker died."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from privbench.executors.worker import ALONE, DEVICE, MEMORY

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

ATTEMPTS = 2
"""Number of workers that may die in one call before it fails."""


class Retries:
    """Number of lanes, and the calls that are to be alone in their worker.

    lanes: number of calls that one worker may run at once; halved when its memory is exhausted
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._side_by_side = lanes > 1
        self._alone: set[int] = set()
        self._beside: dict[int, int] = {}
        """Number of lanes when a call began."""
        self._deaths = Counter[int]()

    def begin(self, index: int, lane: Hashable) -> bool:
        """Note that a call begins; return whether it gets a thread, so that others can run beside it."""
        self._beside[index] = self.lanes
        return self.lanes > 1 and lane is not None and index not in self._alone

    def admits(self, index: int, others: Collection[int]) -> bool:
        """Return whether a call may run beside others."""
        return len(others) < self.lanes and self._alone.isdisjoint([index, *others])

    def after_error(self, index: int, lane: Hashable, kind: str) -> bool:
        """Return whether a call that ended with an error, or kind "" for none, is tried again."""
        beside = self._side_by_side and lane is not None and index not in self._alone
        before = self._beside[index]
        if kind == MEMORY:
            self.lanes = max(1, min(self.lanes, before // 2))
            return beside and before > 1
        if kind in (ALONE, DEVICE) and beside:
            self._alone.add(index)
            return True
        return False

    def isolate(self, index: int) -> None:
        """Let a call be alone from now on."""
        self._alone.add(index)

    def after_death(self, index: int, beside: int) -> bool:
        """Return whether a call is tried again whose worker died, with a number of others beside it."""
        if beside and index not in self._alone:
            self._alone.add(index)
            return True
        self._deaths[index] += 1
        return self._deaths[index] < ATTEMPTS
