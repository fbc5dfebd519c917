"""Worker process as seen from its parent: its environment, protection from Ctrl-C, and the cause of its end."""

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
"""SIGKILL, which Windows does not define."""
NO_GUARD = 78
"""Exit code of a worker in which the parent's script starts workers again."""


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
            theirs.close()  # otherwise its end would never be noticed

    def receive(self) -> bytes | None:
        """Return its next message, or None. Raises EOFError or OSError if it is dead and has no more messages."""
        alive = self.process.is_alive()  # checked first: all messages of a dead process are in the pipe
        if self.connection.poll():
            return self.connection.recv_bytes()
        if alive:
            return None
        raise EOFError

    def end(self, patience: float = 0.0) -> int:
        """End it, by force if necessary, free its resources, and return its exit code."""
        self.connection.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        return code


@contextlib.contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block. A process started in it begins with Ctrl-C deferred, too."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its first start would re-enable Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cause(code: int) -> str:
    """Return the cause of a process's end, from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}"


def hint(code: int) -> str:
    """Return a suggestion based on the exit code, if any."""
    return "; out of memory? Try fewer --jobs" if code == -KILLED else ""


def why_not_started(code: int) -> str:
    """Return the message about a worker that ends before it is ready."""
    if code == NO_GUARD:
        return "Workers import the script that starts them: put what it does under `if __name__ == '__main__':`."
    said = "; what it printed says why" if code > 0 else hint(code)
    return f"A worker process {cause(code)} before it could begin{said}."


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set the environment of processes started in the block."""
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
