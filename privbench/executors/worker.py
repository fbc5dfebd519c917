"""Main loop of a worker process: receive calls, report their progress, send their outcomes."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
import traceback
from multiprocessing import parent_process, spawn
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from privbench.errors import CellFailed, PrivbenchError, one_line
from privbench.executors import answered

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

READY, PROGRESS, ASKED, ENDED = "ready", "progress", "asked", "ended"
INTERVAL = 0.2
"""Minimum interval in seconds between two progress reports of a call; reports in between are dropped."""
MEMORY, DEVICE, ALONE = "memory", "device", "alone"
"""Kinds of errors that a call may not raise if it is alone: no memory left, a broken device, no work beside others."""
SIGNS = {
    MEMORY: ("OutOfMemoryError", "MemoryError"),
    ALONE: ("OnlyAlone",),
    DEVICE: ("AcceleratorError", "CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error"),
}

_main: set[str] = set()
"""The one process state: the scripts whose classes were unpickled here."""
_working = threading.Event()
"""Set in a worker."""


def is_worker() -> bool:
    """Return whether this process is a worker."""
    return _working.is_set()


def spawned(connection: Connection[Any, Any]) -> None:
    """Serve in a process started by multiprocessing, until its parent ends."""
    parent = parent_process()
    assert parent is not None
    serve(connection, parent.join)


def serve(connection: Connection[Any, Any], until: Callable[[], object]) -> None:
    """Run calls until the connection closes.

    until: returns when the parent has ended for any reason, including kill -9

    Messages from the parent: (index, whether in a thread, keywords for `spawn.prepare`, pickled function and job).
    Messages to it: (READY,) once; then for each call some of (PROGRESS, index, done, stage), and at last
    (ENDED, index, result, error, kind of error, seconds). A call without a thread of its own may send (ASKED, index,
    request) and gets (answer, error).
    """
    _working.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(until,), daemon=True).start()
    sender = _Sender(connection)
    try:
        sender.send((READY,))
        while True:
            index, threaded, main, content = connection.recv()
            if threaded:
                threading.Thread(target=_lane, args=(index, main, content, sender), daemon=True).start()
            else:
                sender.send_bytes(_do(index, main, content, sender))
    except (EOFError, OSError):
        return  # the parent has no more calls, or has ended


class _Sender:
    """Sends messages of several threads, and receives answers for the main thread.

    A process that a component has forked ends where it would send or receive: its parent does.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._process = os.getpid()

    def send(self, message: object) -> None:
        self.send_bytes(bytes(ForkingPickler.dumps(message)))

    def send_bytes(self, message: bytes) -> None:
        self._end_forked()
        with self._lock:
            self._connection.send_bytes(message)

    def receive(self) -> Any:
        return self._connection.recv()

    def _end_forked(self) -> None:
        if os.getpid() != self._process:
            os._exit(0)


def _lane(index: int, main: dict[str, str], content: bytes, sender: _Sender) -> None:
    """Run one of several calls at once."""
    message = _do(index, main, content, sender)
    try:
        sender.send_bytes(message)
    except OSError:
        os._exit(1)


def _do(index: int, main: dict[str, str], content: bytes, sender: _Sender) -> bytes:
    """Run one call and return the message with its outcome, whatever it raises."""
    reporter = _Reporter(index, sender)
    start = time.perf_counter()
    try:
        _prepare(main)
        function, job = ForkingPickler.loads(content)
        start = time.perf_counter()  # the first load imports torch
        result = function(job, reporter)
        seconds = time.perf_counter() - start
        message = bytes(ForkingPickler.dumps((ENDED, index, result, None, "", seconds)))
    except BaseException as error:  # noqa: BLE001 - not even SystemExit may end the worker
        seconds = time.perf_counter() - start
        message = bytes(ForkingPickler.dumps((ENDED, index, None, *_described(error), seconds)))
    reporter.close()
    return message


def _described(error: BaseException) -> tuple[PrivbenchError, str]:
    """Return an error that can be sent, and its kind."""
    try:
        return portable(error), _kind(error)
    except BaseException:  # noqa: BLE001 - a plugin's class may do anything
        return CellFailed(f"{type(error).__name__}: (it cannot be described)"), ""


def _prepare(main: dict[str, str]) -> None:
    """Import the parent's script, once, if the call needs its classes."""
    if main and not _main:
        _main.update(main)
        spawn.prepare(main)


def _kind(error: BaseException) -> str:
    """Return the kind of an error that may be due to other calls in this process, or ""."""
    text = f"{type(error).__name__}: {error.__cause__!r}: {one_line(error)}"
    return next((kind for kind, signs in SIGNS.items() if any(sign in text for sign in signs)), "")


class _Reporter:
    """Sends progress at most every `INTERVAL`, from any thread of the call, and only while the call runs."""

    def __init__(self, index: int, sender: _Sender) -> None:
        self._index, self._sender = index, sender
        self._lock = threading.Lock()
        self._next = 0.0

    def __call__(self, done: float, stage: str = "") -> None:
        share, stage = float(done), str(stage)
        share = 0.0 if math.isnan(share) else min(max(share, 0.0), 1.0)
        with self._lock:
            now = time.monotonic()
            if now >= self._next:
                self._next = now + INTERVAL
                self._sender.send((PROGRESS, self._index, share, stage))

    def ask(self, request: object) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise CellFailed("only the main thread of a process can ask for more evidence.")
        self._sender.send((ASKED, self._index, request))
        answer, error = self._sender.receive()
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        with self._lock:
            self._next = float("inf")


def reply(answer: Callable[[Any], Any] | None, request: Any) -> bytes:
    """Return the message with the answer to what a call asks; for its caller."""
    try:
        return bytes(ForkingPickler.dumps((answered(answer, request), None)))
    except BaseException as error:  # noqa: BLE001 - it is the call's
        return bytes(ForkingPickler.dumps((None, portable(error))))


def portable(error: BaseException) -> PrivbenchError:
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


def _end_with(until: Callable[[], object]) -> None:
    """End this process when its parent has ended: no orphans."""
    until()
    os._exit(1)
