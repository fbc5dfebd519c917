"""Worker pool of one run, served by its own thread, so that no worker waits for the caller.

Outcomes are queued while the caller is busy. `on_progress` is called, and errors are raised, in the thread that
requests outcomes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from typing_extensions import Protocol

from privbench.errors import PrivbenchError, WorkerDied
from privbench.executors import QUERIES, Call, Outcome, Progress
from privbench.executors.foreman import Foreman
from privbench.executors.process import ctrl_c_later
from privbench.executors.servant import LocalServant

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from privbench.executors.foreman import News
    from privbench.executors.process import Worker

WAKE = 0.5
"""Interval in seconds at which a wait is interrupted, so that Windows notices Ctrl-C."""


class Employer(Protocol):
    """Whoever starts workers."""

    workers: int
    lanes: int
    laned: int
    timeout: float

    def worker(self, slot: int) -> Worker:
        """Start a worker."""
        ...

    def load(self, modules: Iterable[str]) -> None:
        """Import modules in workers to come."""
        ...


class Crew:
    """A pool of workers and servants; see `Pool`."""

    def __init__(self, executor: Employer, on_progress: Progress | None) -> None:
        self._executor, self._on_progress = executor, on_progress
        self._done = 0
        self._servants: dict[tuple[str, str], LocalServant] = {}
        self._closing = False
        self._hiring = threading.Lock()
        self._foreman = Foreman(
            self._start,
            workers=executor.workers,
            lanes=executor.lanes,
            laned=executor.laned,
            timeout=executor.timeout,
        )

    def submit(self, call: Call[Any]) -> int:
        """Add a call, and return its index; see `Pool.submit`."""
        return self._foreman.submit(call)

    def load(self, modules: Iterable[str]) -> None:
        """Import modules in the nursery; see `Pool.load`."""
        self._executor.load(modules)

    def cancel(self, indices: Iterable[int], why: PrivbenchError) -> None:
        """Give calls that have not begun an error; see `Pool.cancel`."""
        self._foreman.cancel(indices, why)

    def servant(self, serves: str, purpose: str = QUERIES) -> LocalServant:
        """Return the process for further calls of a component; see `Pool.servant`."""
        with self._hiring:
            if self._closing:
                raise WorkerDied("The run has ended.")
            if (serves, purpose) not in self._servants:
                self._servants[serves, purpose] = LocalServant(self._start, purpose, self._executor.timeout)
            return self._servants[serves, purpose]

    def outcomes(self) -> Generator[Outcome[Any], None, None]:
        """Yield outcomes as they arrive; see `Pool.outcomes`."""
        while self._done < len(self._foreman.calls):
            news = self._next()
            if isinstance(news, BaseException):
                raise news
            if isinstance(news, Outcome):
                self._done += 1
                yield news
            elif self._on_progress is not None:
                self._on_progress(*news)

    def close(self) -> None:
        """End all processes; work in progress is killed at once and lost."""
        self._closing = True
        self._foreman.stop()
        with self._hiring:
            servants = list(self._servants.values())
        for servant in servants:
            servant.close()
        self._foreman.close()

    def _next(self) -> News:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._foreman.news.get(timeout=WAKE)

    def _start(self, slot: int) -> Worker:
        """Start a process. Threads that answer calls start some as well."""
        with self._hiring, ctrl_c_later():
            return self._executor.worker(slot)
