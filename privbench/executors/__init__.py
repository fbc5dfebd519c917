"""Executor interface: runs independent calls anywhere, in any order, with the same results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from typing_extensions import Protocol

from privbench.errors import CellFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable
    from contextlib import AbstractContextManager

    from privbench.errors import PrivbenchError

__all__ = ["QUERIES", "Call", "Executor", "Outcome", "Pool", "Port", "Progress", "Servant", "answered"]

J = TypeVar("J")
R = TypeVar("R")
QUERIES = "answers queries"
"""What a servant does."""


class Port(Protocol):
    """What a function can tell and ask its caller while it runs."""

    def __call__(self, done: float, stage: str = "") -> None:
        """Report the finished share of the job, in [0, 1]."""
        ...

    def ask(self, request: Any) -> Any:
        """Return the caller's answer to a request. Raises the PrivbenchError of an answer that failed."""
        ...


Progress: TypeAlias = "Callable[[int, float, str], None]"
"""Progress callback of the caller: on_progress(index of the call, done, stage)."""


@dataclass(frozen=True)
class Call(Generic[J]):
    """One call of function(job, report) in some process."""

    function: Callable[[J, Port], Any]
    """Picklable, that is, a top-level function of a module."""
    job: J
    serves: str = ""
    """The component whose code is run; "" if all code is privbench's own.

    A process that has run a component's code runs no other's. That of privbench itself may be shared.
    """
    lane: Hashable = None
    """Calls with the same lane may run side by side in the threads of one process; with None, none beside it."""
    first: bool = False
    """Whether it is preferred to waiting calls that are not."""
    answer: Callable[[Any], Any] | None = None
    """Answers what the function asks its caller, by `Port.ask`; called in a thread of the caller's process."""


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """Outcome of one call: a result or an error."""

    index: int
    """Position in the order of submission."""
    job: J
    result: Any
    """Return value of the function; None if there is an error."""
    error: PrivbenchError | None
    """Message of one line; the traceback, for the debug log, is in `__notes__`."""
    seconds: float
    """Wall-clock duration."""


class Servant(Protocol):
    """A process of its own for calls one after another, such as queries while their caller waits."""

    def call(self, function: Callable[[J, Port], R], job: J, answer: Callable[[Any], Any] | None = None) -> R:
        """Return function(job, port). Raises the PrivbenchError of a call that failed, or WorkerDied.

        answer: answers what the function asks, by `Port.ask`
        """
        ...


class Pool(Protocol):
    """Processes that work on submitted calls, while the caller does other things."""

    def submit(self, call: Call[Any]) -> int:
        """Add a call, and return its index: 0, 1, 2, ..."""
        ...

    def outcomes(self) -> Generator[Outcome[Any], None, None]:
        """Yield outcomes as calls complete, until there are no more calls. The caller may submit more in between.

        The error of a call is in its outcome and does not affect others. Raises PrivbenchError if no work is possible.
        """
        ...

    def cancel(self, indices: Iterable[int], why: PrivbenchError) -> None:
        """Give calls that have not begun this error as their outcome."""
        ...

    def servant(self, serves: str, purpose: str = QUERIES) -> Servant:
        """Return the process for further calls of a component (`Call.serves`), which ends with the pool.

        purpose: what it does, of which a component may have several; for messages

        It works while calls wait for it, so it does not count as one of the pool's workers. May be called from any
        thread.
        """
        ...

    def load(self, modules: Iterable[str]) -> None:
        """Import modules in the processes to come, where this saves time. Modules that cannot be imported are left.

        modules: `module:function` also calls a function, for what it caches
        """
        ...


class Executor(Protocol):
    """Anything that runs calls, such as processes on this machine or a cluster."""

    timeout: float
    """Seconds after which a call is stopped; 0: never."""

    def pool(self, on_progress: Progress | None = None) -> AbstractContextManager[Pool]:
        """Return a pool; leaving it stops all work.

        on_progress: called in the caller's thread, while it waits for an outcome
        """
        ...


def answered(answer: Callable[[Any], Any] | None, request: Any) -> Any:
    """Return the answer to a request of a call. Raises what answering raises, and CellFailed if nobody answers."""
    if answer is None:
        raise CellFailed("this call has nobody to ask.")
    return answer(request)
