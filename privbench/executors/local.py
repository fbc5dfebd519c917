"""Worker processes on this machine: spawned, single-threaded, replaceable.

Each worker has its own pipe rather than a share of a queue. The job of a killed worker is therefore known: only that
job is retried, the others continue undisturbed, and no lock of a shared queue dies with the worker.

The number of threads of OpenMP and of the BLAS libraries is set in the initial environment of a worker, because NumPy
and torch read it when they are loaded. This needs no import of torch, and cannot come too late.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, cast

from privbench.errors import PrivbenchError, UsageError
from privbench.executors.cores import default_workers
from privbench.executors.crew import Crew
from privbench.executors.process import NO_GUARD

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from privbench.executors import J, Outcome, Progress, R, Report

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

    Jobs cannot start `multiprocessing` children. A script that uses this class needs `if __name__ == "__main__":`,
    because each worker imports the script.
    """

    def __init__(self, workers: int, threads: int = 1, *, gpus: int = 0) -> None:
        if workers < 1:
            raise UsageError(f"--jobs must be at least 1, not {workers}.")
        if threads < 1:
            raise UsageError(f"A worker needs at least 1 thread, not {threads}.")
        self.workers, self.threads, self.gpus = workers, threads, gpus

    def run(
        self, function: Callable[[J, Report], R], jobs: Sequence[J], on_progress: Progress | None = None
    ) -> Generator[Outcome[J], None, None]:
        """Yield outcomes as jobs complete; see `Executor.run`. The workers are running when this returns.

        A job whose worker is killed is retried once, then it fails with WorkerDied.
        """
        if jobs:
            _check(function)
        crew = Crew(function, jobs, self.environment)
        outcomes = crew.outcomes(min(self.workers, len(jobs)), on_progress)
        next(outcomes)  # start; from now on the generator ends its workers, however it ends itself
        return cast("Generator[Outcome[J], None, None]", outcomes)

    def environment(self, slot: int) -> dict[str, str]:
        """Return the environment variables that differ from those of the parent."""
        changes = dict.fromkeys(THREADS, str(self.threads))
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            names = visible.split(",")[: self.gpus]
            changes["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
        return changes


def _check(function: Callable[..., object]) -> None:
    """Raise PrivbenchError for a function that cannot be pickled. Exits if this process is itself a worker."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(NO_GUARD)  # the script of the parent was imported without a guard; the parent reports it
    try:
        ForkingPickler.dumps(function)
    except Exception as error:
        raise PrivbenchError(f"{function!r} cannot be sent to workers; use a module's top-level function.") from error
