"""Crew: the workers of one run and the remaining jobs, served by a thread, so that no worker waits for the caller.

A busy caller, which scores finished work, gets the messages later. Everything that concerns the caller, `on_progress`
and exceptions, happens in the thread that requests outcomes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import Counter, deque
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from privbench.errors import CellFailed, PrivbenchError, WorkerDied, one_line
from privbench.executors import J, Outcome, Progress, Report
from privbench.executors.process import Worker, cause, ctrl_c_later, hint, why_not_started
from privbench.executors.worker import ENDED, PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

ATTEMPTS = 2
"""Maximum number of workers that die of one job."""
STARTS = 3
"""Maximum number of consecutive workers killed during start."""
WAKE = 0.5
"""Seconds after which a wait is interrupted, for Windows to notice Ctrl-C."""
FAREWELL = 5.0
"""Seconds for a worker without work to end by itself."""

News: TypeAlias = "Outcome[Any] | tuple[int, float, str] | BaseException | None"
"""Message to the caller: an outcome, progress, an error that ends the run, or that nothing is left."""


class Crew(Generic[J]):
    """Workers and their jobs. A worker without a job is dismissed."""

    def __init__(
        self, function: Callable[[J, Report], Any], jobs: Sequence[J], environment: Callable[[int], Mapping[str, str]]
    ) -> None:
        self.function, self.jobs, self.environment = function, jobs, environment
        self.waiting = deque(range(len(jobs)))
        self.deaths = Counter[int]()
        self.failed_starts = 0
        self.workers: list[Worker] = []
        self.retired: list[Worker] = []
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.closing = False
        self.thread = threading.Thread(target=self._serve, name="privbench-crew", daemon=True)

    def outcomes(self, count: int, on_progress: Progress | None) -> Generator[Outcome[J] | None, None, None]:
        """Start workers, yield None, then outcomes as they arrive; leave no process behind."""
        try:
            for slot in range(count):
                self._hire(slot)
            self.thread.start()
            yield None
            while (news := self._next()) is not None:
                if isinstance(news, BaseException):
                    raise news
                if isinstance(news, Outcome):
                    yield news
                elif on_progress is not None:
                    on_progress(*news)
        finally:
            self._dismiss()

    def _next(self) -> News:
        while True:
            with contextlib.suppress(queue.Empty):
                return self.news.get(timeout=WAKE)

    def _dismiss(self) -> None:
        """End all processes; immediately if there is unfinished work, which is lost."""
        patience = 0.0 if self.workers else FAREWELL
        self.closing = True
        for worker in list(self.workers):
            with contextlib.suppress(ValueError):  # the thread has just removed it
                worker.process.kill()  # all of them, before waiting for the first; this wakes the thread
        if self.thread.ident is not None:
            self.thread.join()
        while self.workers or self.retired:
            (self.workers or self.retired).pop().end(patience)

    def _serve(self) -> None:
        """Wait for messages of the workers, and process them, until none is left or the caller has left."""
        try:
            while self.workers and not self.closing:
                wait([source for worker in self.workers for source in (worker.connection, worker.process.sentinel)])
                for worker in list(self.workers):
                    self._attend(worker)
        except BaseException as error:  # noqa: BLE001 - it is raised again where outcomes are asked for
            self.news.put(error)
        else:
            self.news.put(None)

    def _hire(self, slot: int) -> None:
        with ctrl_c_later():  # otherwise a process could be started and forgotten
            self.workers.append(Worker(slot, self.environment(slot)))

    def _attend(self, worker: Worker) -> None:
        try:
            content = worker.receive()
        except (EOFError, OSError):
            self._bury(worker)
        else:
            if content is not None:
                self._hear(worker, content)

    def _hear(self, worker: Worker, content: bytes) -> None:
        try:
            kind, *rest = ForkingPickler.loads(content)
        except Exception as error:  # noqa: BLE001 - a plugin's class may do anything
            failed = CellFailed(f"Its result cannot be received: {one_line(error)}")
            kind, rest = ENDED, [None, failed, time.monotonic() - worker.since]
        if kind == PROGRESS:
            self.news.put((worker.index, *rest))
            return
        if kind == ENDED:
            self._end(worker.index, *rest)
        worker.started, self.failed_starts = True, 0
        self._employ(worker)

    def _employ(self, worker: Worker) -> None:
        """Give a worker the next job, or dismiss it."""
        while self.waiting:
            index = self.waiting.popleft()
            try:
                content = ForkingPickler.dumps((self.function, self.jobs[index]))
            except Exception as error:  # noqa: BLE001 - a plugin's class may do anything
                self._end(index, None, CellFailed(f"It cannot be sent to a worker: {one_line(error)}"), 0.0)
                continue
            worker.index, worker.since = index, time.monotonic()
            with contextlib.suppress(OSError):  # it has died, which is detected elsewhere
                worker.connection.send_bytes(content)
            return
        worker.connection.close()
        self.workers.remove(worker)
        self.retired.append(worker)

    def _bury(self, worker: Worker) -> None:
        """Retry a dead worker's job once, with a new worker."""
        self.workers.remove(worker)
        code = worker.end(FAREWELL)
        if not worker.started:
            self.failed_starts += 1
            if code >= 0 or self.failed_starts >= STARTS:
                raise PrivbenchError(why_not_started(code)) from None
        else:
            self.deaths[worker.index] += 1
            if self.deaths[worker.index] < ATTEMPTS:
                self.waiting.appendleft(worker.index)
            else:
                why = f"Its worker process {cause(code)}, at {ATTEMPTS} attempts{hint(code)}."
                self._end(worker.index, None, WorkerDied(why), time.monotonic() - worker.since)
        if self.waiting and not self.closing:
            self._hire(worker.slot)

    def _end(self, index: int, result: Any, error: PrivbenchError | None, seconds: float) -> None:
        self.news.put(Outcome(index, self.jobs[index], result, error, seconds))
