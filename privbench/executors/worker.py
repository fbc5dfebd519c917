"""Main loop of a worker process: receive a job, report its progress, send its outcome."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from multiprocessing import parent_process
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from privbench.errors import CellFailed, PrivbenchError, one_line

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

READY, PROGRESS, ENDED = "ready", "progress", "ended"
INTERVAL = 0.2
"""Minimum interval in seconds between two progress reports of a job; reports in between are dropped."""


def serve(connection: Connection[Any, Any]) -> None:
    """Run jobs until the connection closes.

    Messages to the parent: (READY,) once; then for each job some of (PROGRESS, done, stage), and at last
    (ENDED, result, error, seconds).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        connection.send((READY,))
        while True:
            connection.send_bytes(_do(connection.recv_bytes(), connection))
    except (EOFError, OSError):
        return  # the parent has no more jobs, or has ended


def _do(content: bytes, connection: Connection[Any, Any]) -> bytes:
    """Run one job and return the message with its outcome, whatever the job raises."""
    reporter = _Reporter(connection)
    start = time.perf_counter()
    try:
        function, job = ForkingPickler.loads(content)
        start = time.perf_counter()  # the first load imports torch
        result = function(job, reporter)
        seconds = time.perf_counter() - start
        message = bytes(ForkingPickler.dumps((ENDED, result, None, seconds)))
    except BaseException as error:  # noqa: BLE001 - not even SystemExit may end the worker
        message = bytes(ForkingPickler.dumps((ENDED, None, _portable(error), time.perf_counter() - start)))
    reporter.close()
    return message


class _Reporter:
    """Sends progress at most every `INTERVAL`, from any thread of the job, and only while the job runs."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._next = 0.0

    def __call__(self, done: float, stage: str = "") -> None:
        with self._lock:
            now = time.monotonic()
            if now >= self._next:
                self._next = now + INTERVAL
                self._connection.send((PROGRESS, min(max(float(done), 0.0), 1.0), str(stage)))

    def close(self) -> None:
        with self._lock:
            self._next = float("inf")


def _portable(error: BaseException) -> PrivbenchError:
    """Return an error that can be sent to the parent: itself if it is a picklable PrivbenchError, else a CellFailed."""
    sent: PrivbenchError = CellFailed(one_line(error))
    if isinstance(error, PrivbenchError):
        try:
            copy = ForkingPickler.loads(ForkingPickler.dumps(error))
        except Exception:  # noqa: BLE001 - a plugin's class may do anything
            copy = None
        sent = error if type(copy) is type(error) else sent
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    vars(sent)["__notes__"] = [*getattr(error, "__notes__", ()), trace]  # add_note needs Python 3.11
    return sent


def _die_with_parent() -> None:
    """End this process when its parent has ended for any reason, including kill -9: no orphans."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
