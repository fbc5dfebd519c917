"""The thread that serves a pool: it gives calls to workers, hears them, and tries again what is worth it.

A worker serves one component and is then replaced, unless all code that it runs is privbench's own: what a component
leaves behind in its process reaches no other's calls.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
import time
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, TypeAlias

from privbench.errors import CellFailed, PrivbenchError, TimedOut, WorkerDied, one_line
from privbench.executors import Call, Outcome
from privbench.executors.process import SCRIPT, cause, hint, script_of, why_not_started
from privbench.executors.retries import ATTEMPTS, Retries
from privbench.executors.worker import ASKED, DEVICE, ENDED, PROGRESS, reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privbench.executors.process import Worker

STARTS = 3
"""Number of workers in a row that may be killed during their start before the run fails."""

News: TypeAlias = "Outcome[Any] | tuple[int, float, str] | BaseException"
"""Message to the caller: an outcome, progress, or the error that ends the run."""


class Foreman:
    """Workers and the queue of their calls. A worker exits when the pool is closed, or to make room for another.

    hire: starts a worker, given its number
    workers, lanes, laned, timeout: as of `LocalProcesses`
    """

    def __init__(self, hire: Callable[[int], Worker], *, workers: int, lanes: int, laned: int, timeout: float) -> None:
        self._hire_worker, self._most, self._laned, self._timeout = hire, workers, laned, timeout
        self.calls: list[Call[Any]] = []
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._waiting: list[int] = []
        self._retries = Retries(lanes)
        self._failed_starts = 0
        self._workers: list[Worker] = []
        self._closing = False
        self._submitted: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ears, self._wake = multiprocessing.Pipe(duplex=False)
        self._cancelled: dict[int, PrivbenchError] = {}
        self._answering: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve, name="privbench-crew", daemon=True)

    def submit(self, call: Call[Any]) -> int:
        """Add a call, and return its index; see `Pool.submit`."""
        index = len(self.calls)
        self.calls.append(call)
        self._submitted.put(index)
        if self._thread.ident is None:
            self._thread.start()
        self._wake.send_bytes(b" ")
        return index

    def cancel(self, indices: Iterable[int], why: PrivbenchError) -> None:
        """Give calls that have not begun an error; see `Pool.cancel`."""
        self._cancelled |= dict.fromkeys(indices, why)
        self._wake.send_bytes(b" ")

    def stop(self) -> None:
        """Take no more calls, and hear nobody any more."""
        self._closing = True
        if self._thread.ident is not None:
            self._wake.send_bytes(b" ")
            self._thread.join()

    def close(self) -> None:
        """End the workers; work in progress is killed at once and lost."""
        while self._workers:  # before the threads that may be sending answers to them
            self._workers.pop().end()
        for thread in self._answering:
            thread.join()
        self._wake.close()
        self._ears.close()

    def _serve(self) -> None:
        """Handle messages of the workers and the caller until the pool is closed."""
        try:
            while not self._closing:
                sources = [source for worker in self._workers for source in worker.sources]
                wait([self._ears, *sources], self._until_deadline())
                while self._ears.poll():
                    self._ears.recv_bytes()
                with contextlib.suppress(queue.Empty):
                    while True:
                        self._waiting.append(self._submitted.get_nowait())
                for worker in list(self._workers):
                    self._attend(worker)
                self._distribute()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that requests outcomes
            self.news.put(error)

    # Distribution of calls

    def _distribute(self) -> None:
        """Give waiting calls to workers, and hire and retire workers as needed."""
        self._waiting.sort(key=lambda index: (not self.calls[index].first, index))
        for index in list(self._waiting):
            if self._closing:
                return
            if index in self._cancelled:
                self._waiting.remove(index)
                self._end(index, None, self._cancelled[index], 0.0)
                continue
            worker = next((each for each in self._workers if self._suits(each, index)), None) or self._hire(index)
            if worker is None:
                continue  # a later call may suit a worker
            self._waiting.remove(index)
            self._employ(worker, index)

    def _suits(self, worker: Worker, index: int) -> bool:
        """Return whether a worker may take a call now."""
        call = self.calls[index]
        if not worker.started or worker.serves not in (None, call.serves) or worker.slot not in self._slots(index):
            return False
        if not worker.calls:
            return True
        return call.lane is not None and call.lane == worker.lane and self._retries.admits(index, worker.calls)

    def _hire(self, index: int) -> Worker | None:
        """Return a new worker for a call, in place of an idle one if there are enough; None if all are busy."""
        if any(not worker.started for worker in self._workers):
            return None
        taken = {worker.slot: worker for worker in self._workers}
        slots = self._slots(index)
        slot = next((each for each in slots if each not in taken or not taken[each].calls), None)
        slot = next((each for each in slots if each not in taken), slot)
        if slot is None:
            return None
        if slot in taken:
            self._workers.remove(taken[slot])
            taken[slot].end()
        worker = self._hire_worker(slot)
        self._workers.append(worker)
        return worker

    def _slots(self, index: int) -> range:
        """Return the numbers of the workers that may take a call, those first that should."""
        laned, all_of_them = self._laned, self._most
        if laned == all_of_them:
            return range(all_of_them)
        return range(all_of_them - 1, -1, -1) if self.calls[index].lane is None else range(laned)

    def _employ(self, worker: Worker, index: int) -> None:
        call = self.calls[index]
        try:
            content = bytes(ForkingPickler.dumps((call.function, call.job)))
        except Exception as error:  # noqa: BLE001 - a plugin's class may do anything
            self._end(index, None, CellFailed(f"The job cannot be sent to a worker: {one_line(error)}"), 0.0)
            return
        script = script_of(content)
        worker.serves = call.serves or (SCRIPT if script else "")
        worker.lane = call.lane
        worker.calls[index] = time.monotonic()
        threaded = self._retries.begin(index, call.lane)
        with contextlib.suppress(OSError):  # a dead worker is noticed elsewhere
            worker.connection.send((index, threaded, script, content))

    # Messages of workers

    def _attend(self, worker: Worker) -> None:
        try:
            while worker in self._workers and (content := worker.receive()) is not None:
                self._hear(worker, content)
        except (EOFError, OSError):
            self._bury(worker)
            return
        for index, since in list(worker.calls.items()):
            if self._timeout and worker.asked is None and time.monotonic() - since >= self._timeout:
                self._stop(worker, index)
                return

    def _hear(self, worker: Worker, content: bytes) -> None:
        try:
            kind, *rest = ForkingPickler.loads(content)
        except BaseException as error:  # noqa: BLE001 - a plugin's class may do anything
            self._give_up(worker, CellFailed(f"The result cannot be received: {one_line(error)}"))
            return
        if kind == PROGRESS:
            self.news.put(tuple(rest))
        elif kind == ASKED:
            worker.asked = time.monotonic()
            thread = threading.Thread(target=self._answer, args=(worker, *rest), name="privbench-answer", daemon=True)
            self._answering = [each for each in self._answering if each.is_alive()]
            self._answering.append(thread)
            thread.start()
        else:
            worker.started, self._failed_starts = True, 0
            if kind == ENDED:
                self._hear_end(worker, *rest)

    def _hear_end(self, worker: Worker, index: int, *told: Any) -> None:
        result, error, sort, seconds = told
        worker.calls.pop(index)
        if self._retries.after_error(index, worker.lane, sort):
            self._waiting.append(index)
        else:
            self._end(index, result, error, seconds)
        if sort == DEVICE:  # its device refuses everything from now on
            for other in worker.calls:
                self._again(other)
            self._workers.remove(worker)
            worker.end()

    def _give_up(self, worker: Worker, why: PrivbenchError) -> None:
        """End a worker whose message cannot be read; calls beside another are tried again, each alone."""
        self._workers.remove(worker)
        worker.end()
        for index, since in worker.calls.items():
            if len(worker.calls) > 1:
                self._again(index)
            else:
                self._end(index, None, why, time.monotonic() - since)

    def _answer(self, worker: Worker, index: int, request: Any) -> None:
        """Answer a request of a call, in a thread of its own."""
        message = reply(self.calls[index].answer, request)
        if index in worker.calls and worker.asked is not None:  # the time of the answer is not the call's
            worker.calls[index] += time.monotonic() - worker.asked
        worker.asked = None
        self._wake.send_bytes(b" ")
        with contextlib.suppress(OSError, TypeError, ValueError):  # a dead worker is noticed elsewhere
            worker.connection.send_bytes(message)

    def _again(self, index: int) -> None:
        """Try a call again, alone in its process."""
        self._retries.isolate(index)
        self._waiting.append(index)

    def _bury(self, worker: Worker) -> None:
        """Retry the call of a dead worker once, with a new worker; several calls at once each alone."""
        self._workers.remove(worker)
        ended = worker.ended()
        code = worker.end()
        if not worker.started:
            self._failed_starts += 1
            if code >= 0 or self._failed_starts >= STARTS:
                raise PrivbenchError(why_not_started(code)) from None
            self._waiting += worker.calls
            return
        for index, since in worker.calls.items():
            if self._retries.after_death(index, len(worker.calls) - 1):
                self._waiting.append(index)
            else:
                how = f"{cause(code)} in {ATTEMPTS} attempts{hint(code)}" if ended else "has closed its connection"
                why = f"The worker process {how}."
                self._end(index, None, WorkerDied(why), time.monotonic() - since)

    def _stop(self, worker: Worker, late: int) -> None:
        """Kill the worker of a call that takes too long; calls beside it are tried again."""
        self._workers.remove(worker)
        worker.end()
        for index, since in worker.calls.items():
            if index == late:
                why = f"It was stopped after {self._timeout:g} s; see --timeout."
                self._end(index, None, TimedOut(why), time.monotonic() - since)
            else:
                self._again(index)

    def _until_deadline(self) -> float | None:
        """Return the seconds until a call takes too long; None without a limit."""
        if not self._timeout:
            return None
        begun = [since for worker in self._workers if worker.asked is None for since in worker.calls.values()]
        return max(0.0, min(begun) + self._timeout - time.monotonic()) if begun else None

    def _end(self, index: int, result: Any, error: PrivbenchError | None, seconds: float) -> None:
        call = self.calls[index]
        self.calls[index] = replace(call, job=None, answer=None)  # evidence may be large
        self.news.put(Outcome(index, call.job, result, error, seconds))
