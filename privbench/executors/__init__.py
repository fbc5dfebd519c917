"""Executor interface: runs independent jobs anywhere, in any order, with the same results."""

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
"""Progress callback of a job: report(done, stage), with the finished share of the job in [0, 1]."""
Progress: TypeAlias = Callable[[int, float, str], None]
"""Progress callback of the caller: on_progress(index of the job, done, stage)."""


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """Outcome of one job: a result or an error."""

    index: int
    """Position in the sequence of jobs."""
    job: J
    result: Any
    """Return value of the function; None if there is an error."""
    error: PrivbenchError | None
    """Message of one line; the traceback, for the debug log, is in `__notes__`."""
    seconds: float
    """Wall-clock duration."""


class Executor(Protocol):
    """Anything that runs jobs, such as processes on this machine or a cluster."""

    def run(
        self, function: Callable[[J, Report], R], jobs: Sequence[J], on_progress: Progress | None = None
    ) -> Generator[Outcome[J], None, None]:
        """Yield the outcome of function(job, report) of each job as it completes, in any order.

        Work starts at once, or when the first outcome is requested, and continues while the caller processes outcomes.
        Closing the generator, or an exception, stops it.

        function: picklable, that is, a top-level function of a module.
        jobs: arguments of the function.
        on_progress: called in the caller's thread, while it waits for an outcome.

        The error of a job is in its outcome and does not affect others. Raises PrivbenchError if no work is possible.
        """
        ...
