"""Executor without processes: runs calls here, one after another, for tests and for work inside a worker."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from privbench.errors import ENDS_THE_RUN, CellFailed, PrivbenchError, one_line
from privbench.executors import QUERIES, Call, Outcome, Progress, answered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from privbench.executors import J, Port, R


class Inline:
    """Runs calls in this process when outcomes are requested; nothing is isolated, or stopped."""

    timeout = 0.0

    @contextlib.contextmanager
    def pool(self, on_progress: Progress | None = None) -> Iterator[InlinePool]:
        """Return a pool; see `Executor.pool`."""
        yield InlinePool(on_progress)


class InlinePool:
    """A pool of no process but this one."""

    def __init__(self, on_progress: Progress | None = None) -> None:
        self._on_progress = on_progress
        self._waiting: dict[int, Call[Any]] = {}
        self._count = 0
        self._cancelled: dict[int, PrivbenchError] = {}

    def submit(self, call: Call[Any]) -> int:
        """Add a call; see `Pool.submit`."""
        self._waiting[self._count] = call
        self._count += 1
        return self._count - 1

    def cancel(self, indices: Iterable[int], why: PrivbenchError) -> None:
        """Give calls that have not begun an error; see `Pool.cancel`."""
        self._cancelled |= dict.fromkeys(indices, why)

    def outcomes(self) -> Generator[Outcome[Any], None, None]:
        """Run calls, those first that are to be preferred; see `Pool.outcomes`."""
        while self._waiting:
            index = min(self._waiting, key=lambda each: (not self._waiting[each].first, each))
            call = self._waiting.pop(index)
            if index in self._cancelled:
                yield Outcome(index, call.job, None, self._cancelled[index], 0.0)
                continue
            yield run(call, index, self._on_progress)

    def servant(self, serves: str, purpose: str = QUERIES) -> InlinePool:  # noqa: ARG002
        """Return this process; see `Pool.servant`."""
        return self

    def call(self, function: Callable[[J, Port], R], job: J, answer: Callable[[Any], Any] | None = None) -> R:
        """Return function(job, port); see `Servant.call`."""
        return function(job, _Port(Call(function, job, answer=answer), 0, None))

    def load(self, modules: Iterable[str]) -> None:
        """Do nothing: what is needed is imported then."""


def run(call: Call[Any], index: int = 0, on_progress: Progress | None = None) -> Outcome[Any]:
    """Return the outcome of a call, run here. Raises what ends a run."""
    start = time.perf_counter()
    result, error = None, None
    try:
        result = call.function(call.job, _Port(call, index, on_progress))
    except ENDS_THE_RUN:
        raise
    except PrivbenchError as raised:
        error = raised
    except BaseException as raised:  # noqa: BLE001 - whatever a component does wrong is its call's
        error = CellFailed(one_line(raised))
        error.__cause__ = raised
    return Outcome(index, call.job, result, error, time.perf_counter() - start)


class _Port:
    def __init__(self, call: Call[Any], index: int, on_progress: Progress | None) -> None:
        self._call, self._index, self._on_progress = call, index, on_progress

    def __call__(self, done: float, stage: str = "") -> None:
        if self._on_progress is not None:
            self._on_progress(self._index, done, stage)

    def ask(self, request: Any) -> Any:
        return answered(self._call.answer, request)
