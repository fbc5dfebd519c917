"""Who does the work: jobs that need nothing from each other, done anywhere, in any order, with the same results."""

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
"""What a job calls: report(done, stage), with the fraction of the job that is done, in [0, 1]."""
Progress: TypeAlias = Callable[[int, float, str], None]
"""What the caller hears: on_progress(index of the job, done, stage)."""


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """How one job ended: with a result or with an error."""

    index: int
    """Its place among the jobs."""
    job: J
    result: Any
    """What the function returned; None with an error."""
    error: PrivbenchError | None
    """One line for people; the traceback, for a debug log, is in its `__notes__`."""
    seconds: float
    """Wall-clock seconds that it ran."""


class Executor(Protocol):
    """Something that runs jobs: processes of this machine, or a cluster."""

    def run(
        self, function: Callable[[J, Report], R], jobs: Sequence[J], on_progress: Progress | None = None
    ) -> Generator[Outcome[J], None, None]:
        """Yield the outcome of function(job, report) of each job as it completes, in any order.

        The work begins at once, or when the first outcome is asked for, and goes on while the caller is busy with
        others. The function is picklable: a top-level one of a module. What goes wrong in a job is in its outcome and
        spoils no other; what makes all work impossible raises PrivbenchError. `on_progress` is called in the caller's
        thread, while it waits for an outcome. Closing the generator, or an exception, stops the work.
        """
        ...
