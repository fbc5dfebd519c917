"""Worker processes on this machine: single-threaded, replaceable, each for one component.

Each worker has its own pipe rather than a share of a queue. The calls of a killed worker are therefore known: only they
are retried, the others continue undisturbed, and no lock of a shared queue dies with the worker.

The number of threads of OpenMP and of the BLAS libraries is set in the initial environment of workers, because NumPy
and torch read it when they are loaded.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING

from privbench.errors import PrivbenchError, UsageError
from privbench.executors import Call
from privbench.executors.cores import default_workers
from privbench.executors.crew import Crew
from privbench.executors.nursery import Nursery
from privbench.executors.process import FORKS, Worker, ctrl_c_later
from privbench.executors.worker import is_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from privbench.executors import J, Outcome, Port, Progress, R

__all__ = ["LocalProcesses", "default_workers"]

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class LocalProcesses:
    """Executor with worker processes on this machine; even a single worker is a process, so that results are the same.

    workers: number of processes.
    threads: threads per worker.
    gpus: number of GPUs; worker i sees only GPU i modulo `gpus`, as its "cuda".
    lanes: number of calls that one worker may run at once, if their `lane` is the same; with GPUs only one worker for
        each takes calls with a lane, and those beyond are for others.
    timeout: seconds after which a call is stopped; 0: never.

    Calls cannot start further pools. A script whose own classes are in jobs needs `if __name__ == "__main__":`, because
    workers import it.
    """

    def __init__(self, workers: int, threads: int = 1, *, gpus: int = 0, lanes: int = 1, timeout: float = 0.0) -> None:
        if workers < 1:
            raise UsageError(f"--jobs must be at least 1, not {workers}.")
        if threads < 1:
            raise UsageError(f"A worker needs at least 1 thread, not {threads}.")
        if lanes < 1:
            raise UsageError(f"A worker needs at least 1 lane, not {lanes}.")
        if not timeout >= 0:
            raise UsageError(f"--timeout must be a number of seconds, or 0 for no limit, not {timeout}.")
        self.workers, self.threads, self.gpus, self.lanes, self.timeout = workers, threads, gpus, lanes, timeout
        self.laned = min(workers, gpus or workers)

    @contextlib.contextmanager
    def pool(self, on_progress: Progress | None = None) -> Iterator[Crew]:
        """Return a pool of workers; see `Executor.pool`.

        A call whose worker is killed is retried once, then it fails with WorkerDied.
        """
        if is_worker():
            guard = "put your script's code under `if __name__ == '__main__':`."
            raise PrivbenchError(f"A worker starts no workers: {guard}")
        crew = Crew(self, on_progress)
        try:
            yield crew
        finally:
            crew.close()

    def run(
        self, function: Callable[[J, Port], R], jobs: Sequence[J], on_progress: Progress | None = None
    ) -> Generator[Outcome[J], None, None]:
        """Yield the outcome of function(job, report) of each job as it completes; errors are in outcomes.

        Work starts when the first outcome is requested. Closing the generator, or an exception, stops it.
        """
        try:
            ForkingPickler.dumps(function)
        except Exception as error:
            what = f"{function!r} cannot be sent to workers; use a module's top-level function."
            raise PrivbenchError(what) from error
        with self.pool(on_progress) as pool:
            for job in jobs:
                pool.submit(Call(function, job))
            yield from pool.outcomes()

    def load(self, modules: Iterable[str]) -> None:
        """Import modules in workers to come; returns at once. It may be called before the first pool, to save time."""
        if FORKS:
            with contextlib.suppress(EOFError):  # the next worker starts another nursery
                nursery(self.threads).load(modules)

    def worker(self, slot: int) -> Worker:
        """Start a worker."""
        environment = self.environment(slot)
        if not FORKS:
            return Worker(slot, None, environment)
        try:
            return Worker(slot, nursery(self.threads), environment)
        except EOFError:  # it was killed
            _nurseries.pop(self.threads).close()
            return Worker(slot, nursery(self.threads), environment)

    def environment(self, slot: int) -> dict[str, str]:
        """Return the environment variables of a worker that differ from those of the parent."""
        changes = dict.fromkeys(THREADS, str(self.threads))
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            names = visible.split(",")[: self.gpus]
            changes["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
        return changes


def prepare(modules: Iterable[str]) -> None:
    """Begin to import modules for single-threaded workers, before it is known whether and how many are needed."""
    if FORKS:
        with contextlib.suppress(EOFError, OSError):  # the first worker says what is wrong
            nursery(1).load(modules)


_nurseries: dict[int, Nursery] = {}
"""The nurseries of this process, by the number of threads of their workers: each is started once."""


def nursery(threads: int) -> Nursery:
    """Return the process that forks workers with a number of threads, which ends with this process."""
    if threads not in _nurseries:
        if not _nurseries:
            atexit.register(_close)
        with ctrl_c_later():
            _nurseries[threads] = Nursery(dict.fromkeys(THREADS, str(threads)))
    return _nurseries[threads]


def _close() -> None:
    while _nurseries:
        _nurseries.popitem()[1].close()
