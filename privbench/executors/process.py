"""Handle of one worker process: its pipe, its calls, and the reason of its end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from multiprocessing import resource_tracker, spawn
from typing import TYPE_CHECKING, Any

from typing_extensions import Protocol

from privbench.errors import PrivbenchError
from privbench.executors.worker import spawned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from multiprocessing.connection import Connection

    from privbench.executors.nursery import Nursery

SCRIPT = "__main__"
KILLED = 9
"""SIGKILL, which does not exist on Windows."""
GRACE = 1.0
"""Seconds in which a process ends that has closed its pipe because it ends."""
FORKS = sys.platform == "linux" and hasattr(socket, "SOCK_SEQPACKET")
"""Whether workers are forked by a nursery. On macOS, system libraries do not survive a fork."""


class Process(Protocol):
    """A process of a worker."""

    def sentinels(self) -> list[Any]:
        """Return what becomes ready when the process ends, besides its pipe."""
        ...

    def end(self) -> int:
        """Kill the process if it still runs, free its resources, and return its exit code."""
        ...


class Forked:
    """A worker forked by a nursery."""

    def __init__(self, nursery: Nursery, theirs: Connection[Any, Any], environment: Mapping[str, str]) -> None:
        self._nursery = nursery
        self._number = nursery.fork(theirs, environment)
        self._sentinel: int | None = None
        with contextlib.suppress(OSError, AttributeError):  # an old kernel: its pipe tells
            self._sentinel = os.pidfd_open(self._number)

    def sentinels(self) -> list[Any]:
        """Return the process's file descriptor, if the system has one."""
        return [] if self._sentinel is None else [self._sentinel]

    def end(self) -> int:
        """Kill the process and its children; return its exit code."""
        sentinel, self._sentinel = self._sentinel, None  # two threads may end a servant
        if sentinel is not None:
            os.close(sentinel)
        return self._nursery.end(self._number)


class Spawned:
    """A worker in a new interpreter."""

    def __init__(self, theirs: Connection[Any, Any], environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=spawned, args=(theirs,), name="privbench", daemon=True)
        with _environment(environment):
            self._process.start()
        self._code: int | None = None
        self._ending = threading.Lock()

    def sentinels(self) -> list[Any]:
        """Return the process's sentinel."""
        return [self._process.sentinel] if self._code is None else []

    def end(self) -> int:
        """Kill the process; return its exit code."""
        with self._ending:  # two threads may end a servant
            if self._code is None:
                self._process.kill()
                self._process.join()
                self._code = self._process.exitcode or 0
                self._process.close()
            return self._code


class Worker:
    """A process, its pipe, and its calls."""

    def __init__(self, slot: int, nursery: Nursery | None, environment: Mapping[str, str]) -> None:
        self.slot, self.started = slot, False
        self.serves: str | None = None
        """The component whose code it has run; "" for privbench's own, None before its first call."""
        self.lane: object = None
        self.calls: dict[int, float] = {}
        """Its unfinished calls, each with the time when it began, less that of answers to it."""
        self.asked: float | None = None
        """The time since when its call has waited for an answer."""
        self.connection, theirs = multiprocessing.Pipe()
        try:
            self.process: Process = (
                Spawned(theirs, environment) if nursery is None else Forked(nursery, theirs, environment)
            )
        except EOFError:
            self.connection.close()
            raise
        except OSError as error:
            self.connection.close()
            reason = error.strerror or str(error)
            raise PrivbenchError(f"Cannot start a worker process: {reason}; try fewer --jobs.") from error
        finally:
            theirs.close()  # otherwise the end of the process would not be noticed

    def ended(self) -> bool:
        """Return whether the process has ended, as far as the system tells."""
        return not self.process.sentinels() or bool(multiprocessing.connection.wait(self.process.sentinels(), GRACE))

    @property
    def sources(self) -> Iterable[Any]:
        """What becomes ready when there are messages, or when the process has ended."""
        return [self.connection, *self.process.sentinels()]

    def receive(self) -> bytes | None:
        """Return the next message, or None. Raises EOFError or OSError if the process is dead and has sent no more."""
        ended = bool(multiprocessing.connection.wait(self.process.sentinels(), 0))  # before `poll`: see below
        if self.connection.poll():
            return self.connection.recv_bytes()
        if ended:  # the pipe of a dead process has all its messages
            raise EOFError
        return None

    def end(self) -> int:
        """End the process; free its resources and return its exit code."""
        self.connection.close()
        return self.process.end()


def script_of(content: bytes) -> dict[str, str]:
    """Return how a worker imports the script of this process, if pickled content needs its classes; else {}."""
    if SCRIPT.encode() not in content:
        return {}
    data = spawn.get_preparation_data("privbench")
    return {name: value for name, value in data.items() if name.startswith("init_main")}


@contextlib.contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Block Ctrl-C until the end of the block. Processes started in it inherit this."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its first start would unblock Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cause(code: int) -> str:
    """Return how a process ended, from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}"


def hint(code: int) -> str:
    """Return a hint on an exit code, or ""."""
    return "; out of memory? Try fewer --jobs" if code == -KILLED else ""


def why_not_started(code: int) -> str:
    """Return the error message for a worker that ended before it was ready."""
    reason = "; see its output for the reason" if code > 0 else hint(code)
    return f"A worker process {cause(code)} before its first job{reason}."


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change the environment of processes started in the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
