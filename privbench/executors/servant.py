"""Servant: a worker outside the pool, whose calls run one after another while others wait for them."""

from __future__ import annotations

import contextlib
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from privbench.errors import CellFailed, TimedOut, WorkerDied, one_line
from privbench.executors.process import cause, hint, script_of
from privbench.executors.worker import ASKED, ENDED, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.executors import J, Port, R
    from privbench.executors.process import Worker


class LocalServant:
    """A worker process for one caller at a time; started at its first call, and again after its death.

    hire: starts a worker, given the number that determines its GPU
    purpose: what the process does, for messages
    timeout: seconds after which a call is stopped; 0: never
    """

    def __init__(self, hire: Callable[[int], Worker], purpose: str, timeout: float = 0.0) -> None:
        self._hire, self._name, self._timeout = hire, f"The process that {purpose}", timeout
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._closed = False

    def call(self, function: Callable[[J, Port], R], job: J, answer: Callable[[Any], Any] | None = None) -> R:
        """Return function(job, port); see `Servant.call`."""
        content = bytes(ForkingPickler.dumps((function, job)))
        with self._lock:
            worker = self._started()
            try:
                worker.connection.send((0, False, script_of(content), content))
                end = time.monotonic() + self._timeout if self._timeout else None
                while True:
                    if not wait(worker.sources, None if end is None else max(0.0, end - time.monotonic())):
                        self._worker = None
                        worker.end()
                        raise TimedOut(f"{self._name} was stopped after {self._timeout:g} s.")
                    kind, *rest = self._heard(worker)
                    if kind == ASKED:
                        asked = time.monotonic()
                        worker.connection.send_bytes(reply(answer, rest[1]))
                        end = end and end + time.monotonic() - asked  # the time of the answer is not the call's
                    if kind == ENDED:
                        break
            except (EOFError, OSError, ValueError):  # the last one, if the pool is closed meanwhile
                self._worker = None
                code = worker.end()
                raise WorkerDied(f"{self._name} {cause(code)}{hint(code)}.") from None
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

    def _heard(self, worker: Worker) -> tuple[Any, ...]:
        """Return the next message, or (None,). Raises CellFailed, and ends the process, for one that cannot be read."""
        message = worker.receive()
        try:
            return (None,) if message is None else ForkingPickler.loads(message)
        except BaseException as error:  # a plugin's class may do anything
            self._worker = None
            worker.end()
            raise CellFailed(f"The result cannot be received: {one_line(error)}") from error

    def _started(self) -> Worker:
        if self._closed:
            raise WorkerDied("The run has ended.")
        if self._worker is None:
            self._worker = self._hire(0)
            if self._closed:  # meanwhile
                self.close()
        return self._worker
