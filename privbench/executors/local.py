"""Local worker processes: spawned, single-threaded, replaceable.

Each worker has its own pipe instead of a common queue. The job of a killed worker is therefore known: only that job is
retried, the others continue undisturbed, and no lock of a common queue is lost with the worker.

The number of threads of OpenMP and of the BLAS libraries is set in the initial environment of a worker, which NumPy and
torch read when they are loaded. This works without importing torch, and cannot be too late.
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
    """Runs jobs in worker processes of this machine; even a single worker is a process, for the same results.

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
    ) -> Generator[Outcome[J], None, None]:
        """Yield outcomes as jobs complete; see `Executor.run`. The workers have started when this returns.

        A job whose worker is killed is retried once, then it fails with WorkerDied.
        """
        if jobs:
            _check(function)
        crew = Crew(function, jobs, self._environment)
        outcomes = crew.outcomes(min(self.workers, len(jobs)), on_progress)
        next(outcomes)  # it starts, and from now on always ends its workers
        return cast("Generator[Outcome[J], None, None]", outcomes)

    def _environment(self, slot: int) -> dict[str, str]:
        """Return the changes of a worker's environment relative to its parent's."""
        changes = dict.fromkeys(THREADS, str(self.threads))
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            names = visible.split(",")[: self.gpus]
            changes["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
        return changes


def _check(function: Callable[..., object]) -> None:
    """Raise PrivbenchError for a function that cannot be sent to a worker. Ends a process that is a worker itself."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(NO_GUARD)  # it imports its parent's script; the parent reports this
    try:
        ForkingPickler.dumps(function)
    except Exception as error:
        raise PrivbenchError(f"{function!r} cannot be sent to workers; use a module's top-level function.") from error
