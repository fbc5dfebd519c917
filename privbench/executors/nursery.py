"""Nursery: a process in which nothing is computed, and which forks workers on request.

Workers start in milliseconds with the nursery's imports, but with nothing of the process that uses them. Requests are
JSON on a socket; that for a worker carries the worker's end of a pipe. It needs Linux.

Between the nursery and each worker is a process that only waits, so that a worker's parent is nobody else's.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privbench.executors.worker import serve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import NoReturn

LARGEST = 2**20
"""Bytes of a request."""
SIGNALLED = 128
"""Exit code, less the signal's number, of a process whose worker was killed by a signal."""
SUBREAPER = 36
"""Option of `prctl`: whoever outlives its parent becomes a child of the nursery, which can end it then."""
START = "import sys; sys.path[:] = {path!a}; from privbench.executors.nursery import main; main({number})"


class Nursery:
    """The parent's handle of a nursery.

    environment: environment variables that differ from those of the parent
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._initial = {**os.environ, **environment}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-c", START.format(path=sys.path, number=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self._initial,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def load(self, modules: Iterable[str]) -> None:
        """Import modules, for workers to come; returns at once. See `Pool.load`."""
        self._send({"load": list(modules)})

    def fork(self, connection: Connection[Any, Any], environment: Mapping[str, str]) -> int:
        """Start a worker at the other end of a pipe, and return its process number. Raises OSError."""
        with self._lock:
            self._send({"fork": self._surroundings(environment)}, [connection.fileno()])
            answer = self._answer()
        if isinstance(answer, str):
            raise OSError(answer)
        return int(answer)

    def end(self, number: int) -> int:
        """Kill a worker and its children, and return its exit code, or that of its earlier end."""
        try:
            with self._lock:
                self._send({"end": number})
                return int(self._answer())
        except EOFError:  # the nursery was killed, and its workers with it
            return -signal.SIGKILL

    def close(self) -> int:
        """End the nursery and its workers; return its exit code."""
        self._socket.close()
        return self._process.wait()

    def _surroundings(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """Return what a worker takes from the process that wants it, which may have changed since the nursery began."""
        wanted = {**os.environ, **environment}
        changed = dict(wanted.items() - self._initial.items())  # the whole may be too large for a message
        gone = list(self._initial.keys() - wanted.keys())
        folder = ""
        with contextlib.suppress(OSError):  # it is gone
            folder = str(Path.cwd())
        return {"changed": changed, "gone": gone, "path": sys.path, "folder": folder}

    def _send(self, request: object, numbers: Iterable[int] = ()) -> None:
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], list(numbers))
        except OSError:
            raise EOFError from None

    def _answer(self) -> Any:
        answer = self._socket.recv(LARGEST)
        if not answer:
            raise EOFError
        return json.loads(answer)


def main(number: int) -> None:
    """Answer requests until the parent closes its end, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what components print does not belong into the output of a command
    requests = socket.socket(fileno=number)
    lifeline = os.pipe()
    workers: set[int] = set()
    while True:
        content, numbers, _, _ = socket.recv_fds(requests, LARGEST, 1)
        if not content:
            break
        [(kind, request)] = json.loads(content).items()
        if kind == "load":
            _load(request)
        elif kind == "end":
            workers.discard(request)
            requests.send(json.dumps(_end(request, workers)).encode())
        else:
            try:
                child = os.fork()
            except OSError as error:
                requests.send(json.dumps(error.strerror).encode())
            else:
                if not child:
                    requests.close()
                    os.close(lifeline[1])
                    _guard(numbers[0], lifeline[0], request)
                workers.add(child)
                requests.send(json.dumps(child).encode())
            os.close(numbers[0])
    while workers:
        _end(workers.pop(), workers)


def _guard(number: int, lifeline: int, environment: Mapping[str, Any]) -> NoReturn:
    """Be the parent of a worker: end when it ends, and with all of its group when the nursery has ended."""
    code = 1
    try:
        os.setsid()
        worker = os.fork()
        if not worker:
            _work(number, lifeline, environment)
        os.close(number)
        threading.Thread(target=_end_group, args=(lifeline,), daemon=True).start()
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    finally:
        os._exit(code if code >= 0 else SIGNALLED - code)


def _work(number: int, lifeline: int, environment: Mapping[str, Any]) -> NoReturn:
    """Be a worker."""
    code = 1
    connection = Connection(number)  # never closed: a component may have done so, and Python would complain
    try:
        _adopt(environment)
        serve(connection, lambda: _end_group(lifeline))
        code = 0
    finally:
        os._exit(code)


def _end_group(lifeline: int) -> None:
    """End all processes of this one's group when the nursery has ended."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _adopt(surroundings: Mapping[str, Any]) -> None:
    for name in surroundings["gone"]:
        os.environ.pop(name, None)
    os.environ.update(surroundings["changed"])
    sys.path[:] = surroundings["path"]
    with contextlib.suppress(OSError):  # the folder is gone
        os.chdir(surroundings["folder"])


def _load(modules: Iterable[str]) -> None:
    for name in modules:
        module, _, function = name.partition(":")
        with contextlib.suppress(Exception):  # whoever needs it fails with the reason
            imported = importlib.import_module(module)
            if function:
                getattr(imported, function)()
    gc.freeze()


def _end(number: int, others: Collection[int]) -> int:
    """Kill a worker, and everything that it and earlier ones have started; return its exit code."""
    _kill(number)
    code = _reaped(number)
    with contextlib.suppress(OSError):  # a system that lists no children
        while orphans := _children() - set(others):
            for orphan in orphans:
                _kill(orphan)
                _reaped(orphan)
    return code if code <= SIGNALLED else SIGNALLED - code


def _kill(number: int) -> None:
    for kill in (os.killpg, os.kill):  # the second one, if it has not made a group yet
        with contextlib.suppress(OSError):
            kill(number, signal.SIGKILL)


def _reaped(number: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    except ChildProcessError:
        return 0


def _children() -> set[int]:
    threads = Path("/proc/self/task").glob("*/children")
    return {int(number) for thread in threads for number in thread.read_text().split()}
