"""Servant: a worker outside the pool, whose calls run one after another while others wait for them."""

from __future__ import annotations

import contextlib
import threading
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from privbench.errors import WorkerDied
from privbench.executors.process import cause, ctrl_c_later, hint
from privbench.executors.worker import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.executors import J, Port, R
    from privbench.executors.process import Worker


class LocalServant:
    """A worker process for one caller at a time; started at its first call, and again after its death.

    hire: starts a worker, given the number that determines its GPU
    """

    def __init__(self, hire: Callable[[int], Worker]) -> None:
        self._hire = hire
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._closed = False

    def call(self, function: Callable[[J, Port], R], job: J) -> R:
        """Return function(job, report); see `Servant.call`."""
        content = bytes(ForkingPickler.dumps((function, job)))
        with self._lock:
            worker = self._started()
            try:
                worker.connection.send((0, False, {}, content))
                while True:
                    wait(worker.sources)
                    message = worker.receive()
                    kind, *rest = (None,) if message is None else ForkingPickler.loads(message)
                    if kind == ENDED:
                        break
            except (EOFError, OSError):
                self._worker = None
                code = worker.end()
                raise WorkerDied(f"The process that answers queries {cause(code)}{hint(code)}.") from None
        _, result, error, *_ = rest
        if error is not None:
            raise error
        found: R = result
        return found

    def close(self) -> None:
        """End the process; calls in progress fail."""
        self._closed = True
        worker: Any = self._worker
        if worker is not None:
            with contextlib.suppress(OSError, ValueError):
                worker.process.end()

    def _started(self) -> Worker:
        if self._closed:
            raise WorkerDied("The run has ended.")
        if self._worker is None:
            with ctrl_c_later():
                self._worker = self._hire(0)
        return self._worker
