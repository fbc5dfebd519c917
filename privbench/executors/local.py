"""Worker processes of this machine: spawned, single-threaded, replaceable.

Each worker has a pipe of its own rather than a share of a queue. So it is known which job a killed worker was at:
only that one is tried again, the others go on undisturbed, and no lock of a common queue dies with the worker.

The number of threads of OpenMP and of the BLAS libraries is set in the environment that a worker is born with, which
NumPy and torch read when they are loaded. Nothing needs to import torch for that, and nothing can be too early.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections import Counter, deque
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Generic

from privbench.errors import CellFailed, PrivbenchError, UsageError, WorkerDied
from privbench.executors import J, Outcome, Progress, R, Report
from privbench.executors.cores import default_workers
from privbench.executors.process import NO_GUARD, Worker, cause, ctrl_c_later, hint, why_not_started
from privbench.executors.worker import ENDED, PROGRESS
from privbench.failures import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["LocalProcesses", "default_workers"]

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
ATTEMPTS = 2
"""How many workers may die of one job."""
STARTS = 3
"""How many workers in a row may be killed while they start."""
WAKE = 0.5
"""Seconds after which a wait is interrupted, for Windows to notice Ctrl-C."""
FAREWELL = 5.0
"""Seconds that a worker without work has to end by itself."""


class LocalProcesses:
    """Runs jobs in worker processes of this machine; even a single worker is a process, so that results are the same.

    With `gpus`, worker i sees only GPU i modulo `gpus`, as its "cuda". Jobs cannot start `multiprocessing` children.
    A script that uses this needs `if __name__ == "__main__":`, since each worker imports the script.
    """

    def __init__(self, workers: int, threads: int = 1, *, gpus: int = 0) -> None:
        if workers < 1:
            raise UsageError(f"--jobs must be at least 1, not {workers}.")
        if threads < 1:
            raise UsageError(f"A worker needs at least 1 thread, not {threads}.")
        self.workers, self.threads, self.gpus = workers, threads, gpus

    def run(
        self, function: Callable[[J, Report], R], jobs: Sequence[J], on_progress: Progress | None = None
    ) -> Iterator[Outcome[J]]:
        """Yield outcomes as jobs complete; see `Executor.run`.

        A job whose worker is killed is tried once more, then it has failed with WorkerDied.
        """
        if not jobs:
            return
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            sys.exit(NO_GUARD)  # this is a worker that imports its parent's script; the parent tells the user
        try:
            ForkingPickler.dumps(function)
        except Exception as error:
            raise PrivbenchError(
                f"{function!r} cannot be sent to workers; use a module's top-level function."
            ) from error
        crew = _Crew(function, jobs, self._environment, on_progress)
        try:
            crew.hire(min(self.workers, len(jobs)))
            while crew.workers:
                crew.listen()
                while crew.ended:
                    yield crew.ended.popleft()
        finally:
            crew.dismiss()

    def _environment(self, slot: int) -> dict[str, str]:
        """Return what a worker's environment has in place of its parent's."""
        changes = dict.fromkeys(THREADS, str(self.threads))
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            names = visible.split(",")[: self.gpus]
            changes["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
        return changes


class _Crew(Generic[J]):
    """The workers of one run, and the jobs that are left to do. A worker that finds none left is sent home."""

    def __init__(
        self,
        function: Callable[[J, Report], Any],
        jobs: Sequence[J],
        environment: Callable[[int], Mapping[str, str]],
        on_progress: Progress | None,
    ) -> None:
        self.function, self.jobs, self.environment, self.on_progress = function, jobs, environment, on_progress
        self.waiting = deque(range(len(jobs)))
        self.deaths = Counter[int]()
        self.failed_starts = 0
        self.workers: list[Worker] = []
        self.retired: list[Worker] = []
        self.ended: deque[Outcome[J]] = deque()

    def hire(self, count: int) -> None:
        for slot in range(count):
            self._hire(slot)

    def listen(self) -> None:
        """Wait for news, and act on it."""
        wait([source for worker in self.workers for source in (worker.connection, worker.process.sentinel)], WAKE)
        for worker in list(self.workers):
            self._attend(worker)

    def dismiss(self) -> None:
        """Leave no process behind; at once where there is work in progress, which is lost."""
        patience = 0.0 if self.workers else FAREWELL
        for worker in self.workers:
            worker.process.kill()  # all of them, before the first is waited for
        while self.workers or self.retired:
            (self.workers or self.retired).pop().end(patience)

    def _hire(self, slot: int) -> None:
        with ctrl_c_later():  # or a process could be started and forgotten
            self.workers.append(Worker(slot, self.environment(slot)))

    def _attend(self, worker: Worker) -> None:
        try:
            content = worker.receive()
        except (EOFError, OSError):
            self._bury(worker)
        else:
            if content is not None:
                self._hear(worker, content)

    def _hear(self, worker: Worker, content: bytes) -> None:
        try:
            kind, *rest = ForkingPickler.loads(content)
        except Exception as error:  # noqa: BLE001 - a plugin's class may do anything
            failed = CellFailed(f"Its result cannot be received: {one_line(error)}")
            kind, rest = ENDED, [None, failed, time.monotonic() - worker.since]
        if kind == PROGRESS:
            if self.on_progress is not None:
                self.on_progress(worker.index, *rest)
            return
        if kind == ENDED:
            self._end(worker.index, *rest)
        worker.started, self.failed_starts = True, 0
        self._employ(worker)

    def _employ(self, worker: Worker) -> None:
        """Give a worker the next job, or send it home. It works while the caller looks at the last outcome."""
        while self.waiting:
            index = self.waiting.popleft()
            try:
                content = ForkingPickler.dumps((self.function, self.jobs[index]))
            except Exception as error:  # noqa: BLE001 - a plugin's class may do anything
                self._end(index, None, CellFailed(f"It cannot be sent to a worker: {one_line(error)}"), 0.0)
                continue
            worker.index, worker.since = index, time.monotonic()
            with contextlib.suppress(OSError):  # it has died: that will be heard
                worker.connection.send_bytes(content)
            return
        worker.connection.close()
        self.workers.remove(worker)
        self.retired.append(worker)

    def _bury(self, worker: Worker) -> None:
        """Try a dead worker's job once more, with a new worker."""
        self.workers.remove(worker)
        code = worker.end(FAREWELL)
        if not worker.started:
            self.failed_starts += 1
            if code >= 0 or self.failed_starts >= STARTS:
                raise PrivbenchError(why_not_started(code)) from None
        else:
            self.deaths[worker.index] += 1
            if self.deaths[worker.index] < ATTEMPTS:
                self.waiting.appendleft(worker.index)
            else:
                why = f"Its worker process {cause(code)}, at {ATTEMPTS} attempts{hint(code)}."
                self._end(worker.index, None, WorkerDied(why), time.monotonic() - worker.since)
        if self.waiting:
            self._hire(worker.slot)

    def _end(self, index: int, result: Any, error: PrivbenchError | None, seconds: float) -> None:
        self.ended.append(Outcome(index, self.jobs[index], result, error, seconds))
