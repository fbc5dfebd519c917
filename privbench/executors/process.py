"""Handle of one worker process in the parent: environment, immunity to Ctrl-C, and reason of its end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from privbench.errors import PrivbenchError
from privbench.executors.worker import serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KILLED = 9
"""SIGKILL, which does not exist on Windows."""
NO_GUARD = 78
"""Exit code of a worker that imports a script without a guard and would start workers itself."""


class Worker:
    """A process, its pipe, and its current job."""

    def __init__(self, slot: int, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.slot, self.started, self.index, self.since = slot, False, -1, 0.0
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), name=f"privbench-{slot}", daemon=True)
        try:
            with _environment(environment):
                self.process.start()
        except OSError as error:
            self.connection.close()
            raise PrivbenchError(f"Cannot start a worker process: {error.strerror}; try fewer --jobs.") from error
        finally:
            theirs.close()  # otherwise the end of the process would not be noticed

    def receive(self) -> bytes | None:
        """Return the next message, or None. Raises EOFError or OSError if the process is dead and has sent no more."""
        alive = self.process.is_alive()  # before `poll`: the pipe of a dead process has all its messages
        if self.connection.poll():
            return self.connection.recv_bytes()
        if alive:
            return None
        raise EOFError

    def end(self, patience: float = 0.0) -> int:
        """End the process, after `patience` seconds by force; free its resources and return its exit code."""
        self.connection.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        return code


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
    if code == NO_GUARD:
        return "Workers import the script that starts them: put its code under `if __name__ == '__main__':`."
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
