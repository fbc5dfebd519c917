"""What share of a wall time a device was busy with recorded steps.

    busy = Busy("cuda")
    with busy.watched():
        ...                                # what trains
    busy.share                             # union of the times of all replays / wall time

On a card each replay of a CUDA graph stands between two events, which the card itself times; kernels that are launched
one by one, queries and copies count as idle. On a CPU, where nothing is recorded, it is the time inside of `Steps.run`,
which shows that this can be measured, and no more.
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Busy:
    """The times of all replays in a block."""

    def __init__(self, device: str) -> None:
        self.card = torch.device(device).type == "cuda"
        self.share, self.wall, self.replays = 0.0, 0.0, 0
        self._spans: list[tuple[Any, Any]] = []

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Time all replays, of all threads of this process, inside the block, and the block."""
        owner, name = (torch.cuda.CUDAGraph, "replay") if self.card else (_steps(), "run")
        original = getattr(owner, name)

        @functools.wraps(original)
        def timed(*given: Any, **named: Any) -> Any:
            before = self._now()
            result = original(*given, **named)
            self._spans.append((before, self._now()))
            return result

        self._spans.clear()
        setattr(owner, name, timed)
        try:
            self._wait()
            zero, start = self._now(), time.perf_counter()
            yield
            self._wait()
            self.wall = time.perf_counter() - start
        finally:
            setattr(owner, name, original)
        spans = [(self._between(zero, begin), self._between(zero, end)) for begin, end in self._spans]
        self.replays, self.share = len(spans), union(spans) / self.wall

    def _now(self) -> Any:
        if not self.card:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()  # on the current stream, which is the one that replays
        return event

    def _between(self, one: Any, other: Any) -> float:
        return one.elapsed_time(other) / 1000 if self.card else other - one

    def _wait(self) -> None:
        if self.card:
            torch.cuda.synchronize()


def union(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of what any of the spans covers."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def _steps() -> type:
    from privbench.learn.steps import Steps

    return Steps
