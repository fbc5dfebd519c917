"""One worker process, seen from its parent: born with its own environment, deaf to Ctrl-C, and its cause of death."""

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
"""SIGKILL, which Windows has no name for."""
NO_GUARD = 78
"""Exit code of a worker in which the script that started it starts workers again."""


class Worker:
    """A process, the pipe to it, and the job it is at."""

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
            theirs.close()  # or its end would never be noticed

    def receive(self) -> bytes | None:
        """Return its next message, or None. Raises EOFError or OSError when it is dead and has no more."""
        alive = self.process.is_alive()  # asked first: what a dead one has sent is all in the pipe
        if self.connection.poll():
            return self.connection.recv_bytes()
        if alive:
            return None
        raise EOFError

    def end(self, patience: float = 0.0) -> int:
        """End it, if need be by force, free what it held, and return its exit code."""
        self.connection.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        return code


@contextlib.contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block. A process started in it begins with Ctrl-C held back, too."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its first start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cause(code: int) -> str:
    """Return how a process ended, by its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}"


def hint(code: int) -> str:
    """Return what to try, where the exit code tells."""
    return "; out of memory? Try fewer --jobs" if code == -KILLED else ""


def why_not_started(code: int) -> str:
    """Return what to tell the user when a worker ends before it is ready for work."""
    if code == NO_GUARD:
        return "Workers import the script that starts them: put what it does under `if __name__ == '__main__':`."
    said = "; what it printed says why" if code > 0 else hint(code)
    return f"A worker process {cause(code)} before it could begin{said}."


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change the environment that a process started in the block is born with."""
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
