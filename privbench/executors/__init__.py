"""Executors: independent jobs, run anywhere and in any order, with the same results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from privbench.errors import PrivbenchError

__all__ = ["Executor", "Outcome", "Progress", "Report"]

J = TypeVar("J")
R = TypeVar("R")

Report: TypeAlias = Callable[[float, str], None]
"""Progress callback of a job: report(done, stage), with the completed fraction of the job, in [0, 1]."""
Progress: TypeAlias = Callable[[int, float, str], None]
"""Progress callback of the caller: on_progress(index of the job, done, stage)."""


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """The end of one job: a result or an error."""

    index: int
    """Index of the job."""
    job: J
    result: Any
    """Return value of the function; None with an error."""
    error: PrivbenchError | None
    """An error with a one-line message; its `__notes__` have the traceback for a debug log."""
    seconds: float
    """Wall-clock seconds of the job."""


class Executor(Protocol):
    """Protocol of executors: local processes, or a cluster."""

    def run(
        self, function: Callable[[J, Report], R], jobs: Sequence[J], on_progress: Progress | None = None
    ) -> Generator[Outcome[J], None, None]:
        """Yield the outcome of function(job, report) of each job as it completes, in any order.

        The work starts immediately, or when the first outcome is requested, and continues while the caller is busy. The
        function is picklable: a top-level one of a module. An error in a job is in its outcome and affects no other; an
        error that makes all work impossible raises PrivbenchError. `on_progress` is called in the caller's thread,
        while it waits for an outcome. Closing the generator, or an exception, stops the work.
        """
        ...
