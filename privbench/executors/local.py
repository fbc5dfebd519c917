"""Worker processes of this machine: spawned, single-threaded, replaceable.

Each worker has a pipe of its own rather than a share of a queue. So it is known which job a killed worker was at:
only that one is tried again, the others go on undisturbed, and no lock of a common queue dies with the worker.

The number of threads of OpenMP and of the BLAS libraries is set in the environment that a worker is born with, which
NumPy and torch read when they are loaded. Nothing needs to import torch for that, and nothing can be too early.
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
    ) -> Generator[Outcome[J], None, None]:
        """Yield outcomes as jobs complete; see `Executor.run`. The workers are at work when this returns.

        A job whose worker is killed is tried once more, then it has failed with WorkerDied.
        """
        if jobs:
            _check(function)
        crew = Crew(function, jobs, self.environment)
        outcomes = crew.outcomes(min(self.workers, len(jobs)), on_progress)
        next(outcomes)  # it begins, and from now on ends its workers however it ends
        return cast("Generator[Outcome[J], None, None]", outcomes)

    def environment(self, slot: int) -> dict[str, str]:
        """Return what a worker's environment has in place of its parent's."""
        changes = dict.fromkeys(THREADS, str(self.threads))
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            names = visible.split(",")[: self.gpus]
            changes["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)]
        return changes


def _check(function: Callable[..., object]) -> None:
    """Raise PrivbenchError for a function that no worker can be sent. Ends a process that is a worker itself."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(NO_GUARD)  # it imports its parent's script; the parent tells the user
    try:
        ForkingPickler.dumps(function)
    except Exception as error:
        raise PrivbenchError(f"{function!r} cannot be sent to workers; use a module's top-level function.") from error
