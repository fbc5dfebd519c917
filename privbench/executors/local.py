"""Worker processes on this machine: single-threaded, replaceable, each for one component.

Each worker has its own pipe rather than a share of a queue. The calls of a killed worker are therefore known: only they
are retried, the others continue undisturbed, and no lock of a shared queue dies with the worker.

The number of threads of OpenMP and of the BLAS libraries is set in the initial environment of workers, because NumPy
and torch read it when they are loaded.
"""

from __future__ import annotations

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
    lanes: number of calls that one worker may run at once, if their `lane` is the same.
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
        self._nursery: Nursery | None = None
        self._pools = 0

    @contextlib.contextmanager
    def pool(self, on_progress: Progress | None = None) -> Iterator[Crew]:
        """Return a pool of workers; see `Executor.pool`.

        A call whose worker is killed is retried once, then it fails with WorkerDied.
        """
        if is_worker():
            guard = "put your script's code under `if __name__ == '__main__':`."
            raise PrivbenchError(f"A worker starts no workers: {guard}")
        crew = Crew(self, on_progress)
        self._pools += 1
        try:
            yield crew
        finally:
            crew.close()
            self._pools -= 1
            if not self._pools:
                self.close()

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
            with contextlib.suppress(EOFError):  # the next worker cannot start, and says so
                self._started().load(modules)

    def close(self) -> None:
        """End the process that forks workers. It is started again when it is needed."""
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close()

    def worker(self, slot: int) -> Worker:
        """Start a worker."""
        return Worker(slot, self._started() if FORKS else None, self.environment(slot))

    def environment(self, slot: int) -> dict[str, str]:
        """Return the environment variables of a worker that differ from those of the parent."""
        changes = self._threads()
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            names = visible.split(",")[: self.gpus]
            changes["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
        return changes

    def _threads(self) -> dict[str, str]:
        return dict.fromkeys(THREADS, str(self.threads))

    def _started(self) -> Nursery:
        if self._nursery is None:
            with ctrl_c_later():
                self._nursery = Nursery(self._threads())
        return self._nursery

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
