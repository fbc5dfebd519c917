"""Execution of a loop's steps: one by one on a CPU, replayed as a CUDA graph on a card.

    steps = Steps(device, "training")
    for epoch in range(epochs):
        steps.run(step, rows, rates)            # step(rows[i], rates[i]) for each i

A step of a small network consists of hundreds of kernels of some microseconds, and Python needs longer to launch them
than a card to compute them. On a card the kernels of a step are therefore recorded once and then launched together. The
requirements for a loop:

- A step changes tensors in place (weights, sums, averages) and returns nothing. State that one step leaves for the next
  is in such tensors: replays run no Python, so an attribute or a list would keep its value from the recording.
- Everything that differs between steps is drawn in advance and is in the tables, a row for each step, including the
  learning rate.
- It reads no value of a tensor (`.item()`, `if tensor:`, boolean indexing), which would wait for the card.
- It draws random numbers, if any, from the generators given to `Steps`.
- Decisions of Python that change over time are named by `phase`, and `step` is the same function every time.

Violations are detected when the step is recorded; such steps are run one by one, with one warning.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from privbench.learn import lanes
from privbench.learn.graphs import Snapshot, Watch, cuda_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from torch.optim import Optimizer

    Step: TypeAlias = Callable[..., object]
    """(a row of each table) -> ignored. On a CPU the row of a one-dimensional table is a number."""
    Recorder: TypeAlias = Callable[[Callable[[], None], Sequence[torch.Generator]], Callable[[], None]]
    """(steps, their generators) -> a function that replays them."""

RECORDERS: dict[str, Recorder | None] = {"cuda": cuda_graph}
"""Recorders by type of device; without one, or with None, steps are run one by one."""
CALLS = 512
"""Operations of several steps in one graph: this saves the time between graphs, which only matters for small steps."""
KINDS = 8
"""Number of kinds of steps of a loop that stay recorded (least recently used): two phases with their last batches."""
CLOSE = 1e-3
"""Tolerance of a replay, relative to the largest value: libraries may choose other kernels."""

REFUSALS: list[list[str]] = []
"""Lists that receive, each time, the reason why steps are run one by one."""

_log = logging.getLogger(__name__)
_said = set[str]()


def recorded(device: torch.device) -> bool:
    """Return whether steps on a device are recorded, so that they must not read values."""
    return device.type in RECORDERS


def rates(values: Sequence[float], device: torch.device) -> Tensor:
    """Return learning rates as a table: float64 on a CPU; float32 on a card, as its fused optimisers require."""
    return torch.tensor(values, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)


def set_rate(optimiser: Optimizer, rate: float | Tensor) -> None:
    """Set the learning rate of an optimiser for a step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


class Steps:
    """Runs the steps of one loop; see the module.

    name: of the loop, for messages
    generators: on the device, used by the steps
    eager: the reason why the steps of this loop cannot be recorded; they are run one by one
    """

    def __init__(
        self,
        device: str | torch.device,
        name: str,
        *,
        generators: Sequence[torch.Generator] = (),
        eager: str = "",
    ) -> None:
        self.device, self.name = torch.device(device), name
        self._generators = tuple(generators)
        self._recorder = RECORDERS.get(self.device.type)
        self._kinds: dict[Hashable, _Kind] = {}
        self._stream = lanes.stream(self.device.index or 0) if self.device.type == "cuda" else None
        if eager and self._recorder is not None:
            self._recorder = None
            say(name, eager)

    def run(self, step: Step, *tables: Tensor, phase: Hashable = None) -> None:
        """Call `step(*(table[i] for table in tables))` for each i, or replay the same on the card.

        tables: (steps, ...) on the device
        phase: everything else on which the Python code of a step depends
        """
        if not len(tables[0]):
            return
        lanes.pause()
        if self._recorder is None:
            _one_by_one(step, tables)
            return
        key = (step, phase, tuple((table.shape[1:], table.dtype) for table in tables))
        kind = self._kinds.pop(key, None) or _Kind(self.name, self._recorder, self._generators)
        self._kinds[key] = kind
        while len(self._kinds) > KINDS:  # each keeps memory of a card
            del self._kinds[next(iter(self._kinds))]
        with self._side_by_side(), torch.autograd.set_multithreading_enabled(False):  # backward runs in this thread
            kind.run(step, tables)

    @contextlib.contextmanager
    def _side_by_side(self) -> Iterator[None]:
        """Use a separate stream, which recording requires."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(self._stream), _quiet():
                yield
        finally:
            torch.cuda.current_stream(self.device).wait_stream(self._stream)


class _Kind:
    """Steps that differ only in their rows of the tables: the first ones are run one by one, the others replayed.

    The first step performs lazy initialisation, such as an optimiser's averages; the second is watched; the third is
    watched, recorded and replayed from the same state, and both results are compared.
    """

    def __init__(self, name: str, recorder: Recorder, generators: Sequence[torch.Generator]) -> None:
        self.name, self.recorder, self.generators = name, recorder, generators
        self.tables: list[Tensor] = []
        self.done = 0
        self.watch: Watch | None = None
        self.replays: dict[int, Callable[[], None]] = {}
        """Replays by number of steps."""
        self.together = 1
        self.eager = False

    def run(self, step: Step, tables: Sequence[Tensor]) -> None:
        steps = len(tables[0])
        if self.eager:
            _one_by_one(step, tables)
            return
        self._load(tables)

        def once() -> None:
            step(*(table.index_select(0, self.at).squeeze(0) for table in self.tables))
            self.at.add_(1)

        while steps:
            steps -= self._go(once, steps)

    def _load(self, tables: Sequence[Tensor]) -> None:
        """Copy the tables to the memory that the recorded steps read."""
        steps = len(tables[0])
        if not self.tables or len(self.tables[0]) < steps:
            self.tables = [table.clone() for table in tables]
            self.at = torch.zeros(1, dtype=torch.int64, device=tables[0].device)
            self.replays.clear()  # they would read the old tables
            self.watch = None
        for table, given in zip(self.tables, tables, strict=True):
            table[:steps].copy_(given)
        self.at.zero_()

    def _go(self, once: Callable[[], None], left: int) -> int:
        """Take one step, or as many as are recorded together; return their number."""
        self.done += 1
        if self.eager or self.done == 1:
            once()
        elif self.watch is None:
            self.watch = Watch(self.at.device)
            with self.watch:
                once()
            self._look(self.watch.obstacle)
        elif not self.replays:
            self._record(once)
        elif left >= self.together:
            if self.together not in self.replays:
                self.replays[self.together] = self._recorded(once, self.together)
            self.replays[self.together]()
            return self.together
        else:
            self.replays[1]()
        return 1

    def _record(self, once: Callable[[], None]) -> None:
        """Take one step, record it, and repeat it as a replay, which must give the same result."""
        assert self.watch is not None
        state = Snapshot(self.watch.changed, self.generators)
        before, second = state.take(), Watch(self.at.device, self.watch)
        with second:
            once()
        obstacle = second.obstacle or second.unlike(self.watch)
        self.together = max(1, CALLS // second.calls)
        if obstacle:
            self._look(obstacle)
            return
        after = state.take()
        state.put(before)
        try:
            replay = self._recorded(once, 1)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step has been taken without it
            state.put(after)
            self._look(f"it cannot be recorded: {' '.join(str(error).split())}")
            return
        replay()
        distance = state.distance(after)
        if distance > CLOSE:
            state.put(after)
            self._look(f"a replay of it differs from it by {distance:.1g}")
            return
        self.replays[1] = replay

    def _recorded(self, once: Callable[[], None], steps: int) -> Callable[[], None]:
        def several() -> None:
            for _ in range(steps):
                once()

        with lanes.exclusive():
            return self.recorder(several, self.generators)

    def _look(self, obstacle: str) -> None:
        if obstacle:
            self.eager = True
            say(self.name, obstacle)


def say(name: str, why: str) -> None:
    """Warn, once per process, that the steps of a loop are run one by one, and why."""
    text = f"{name}: each step is launched by itself, which is slow on a card: {why}."
    for told in REFUSALS:
        told.append(text)
    if text not in _said:
        _said.add(text)
        _log.warning(text)


def _one_by_one(step: Step, tables: Sequence[Tensor]) -> None:
    for row in zip(*map(_rows, tables), strict=True):
        step(*row)


def _rows(table: Tensor) -> Sequence[Any]:
    """Return the rows; one-dimensional ones as numbers, unless that would wait for the card."""
    rows: Sequence[Any] = table.tolist() if table.ndim == 1 and table.device.type == "cpu" else table.unbind()
    return rows


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    if lanes.inside():  # they ignore it already, and must not restore what others have set
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=lanes.CAPTURABLE)
        yield
