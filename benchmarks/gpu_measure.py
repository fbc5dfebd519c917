"""The measurements of `gpu.py`: steady rates of three ways to train, and a run of which the busy share is taken."""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpu_cases
import numpy as np
from busy import Busy

from privbench.cli.run import LANES
from privbench.executors import inline
from privbench.learn.lanes import lane
from privbench.plugins.loading import resolve
from privbench.run import Grid, run
from privbench.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from privbench.executors import Call, Outcome

SECONDS, QUICK_SECONDS = 0.8, 0.05
"""Least time that is measured at once."""
GROWTH = 16
QUICK_LANES = 2
HOUR = 3600.0
RUN = {"mlp": (28, 1, 16, 20), "mobilenet_v3_small": (32, 3, 4, 20)}
"""Of a whole run: side and channels of its images, models, epochs."""
POOL, QUICK_POOL = 12_800, 128


def rates(name: str, device: str, *, quick: bool) -> dict[str, Any]:
    """Return the examples/s of all ways to train, and what follows from them.

    The graph comes last: where it cannot be captured, a card may be in no state to measure anything.
    """
    case = (gpu_cases.QUICK if quick else gpu_cases.ON_CARD)[name]
    seconds = QUICK_SECONDS if quick else SECONDS
    ways = {"privbench": gpu_cases.privbench(case, device), "bare": gpu_cases.bare(case, device)}
    steady = _steady(ways, seconds, again=not quick)
    lanes = lanes_of(quick=quick)
    beside = _steady({"lanes": _beside(case, device, lanes)}, seconds, again=not quick)["lanes"]
    no_graph = ""
    if device == "cuda":
        try:
            steady |= _steady({"graph": gpu_cases.graph(case, device)}, seconds, again=not quick)
        except Exception as error:  # noqa: BLE001 - whatever torch raises, that is the finding
            no_graph = f"{name}: the step cannot be captured by hand: {' '.join(str(error).split())}"[:300]
    rate = {way: case.examples / unit for way, (unit, _) in steady.items()}
    unit, start = steady["privbench"]
    return {
        **rate,
        "graph": rate.get("graph"),
        "x_bare": rate["privbench"] / rate["bare"],
        "x_graph": rate["privbench"] / rate["graph"] if "graph" in rate else None,
        "start": start,
        "models_per_hour": HOUR / (start + case.model * unit),
        "lanes": lanes,
        "models_per_hour_in_lanes": lanes * HOUR / (beside[1] + case.model * beside[0]),
        "batch": case.batch,
        "shape": case.shape,
        "no_graph": no_graph,
    }


def lanes_of(*, quick: bool) -> int:
    """Return the number of lanes that are measured beside one."""
    return QUICK_LANES if quick else LANES


def _beside(case: gpu_cases.Case, device: str, lanes: int) -> Callable[[int], None]:
    """Return privbench's own training, of several models at once."""
    trainings = [gpu_cases.privbench(case, device) for _ in range(lanes)]

    def run(units: int) -> None:
        def one(train: Callable[[int], None]) -> None:
            with lane(device):
                train(units)

        with ThreadPoolExecutor(lanes) as threads:
            list(threads.map(one, trainings))

    return run


def _steady(
    ways: Mapping[str, Callable[[int], None]], seconds: float, *, again: bool
) -> dict[str, tuple[float, float]]:
    """Return the seconds of a unit and of what comes before the first, of each way; `again`: the mean of two."""
    units, times = {}, {}
    for way, train in ways.items():
        units[way], times[way] = _enough(train, seconds)
    for way, train in reversed(ways.items()) if again else ():
        times[way].append((_timed(train, 1), _timed(train, units[way])))
    found = {}
    for way, pairs in times.items():
        one, many = (statistics.mean(each) for each in zip(*pairs, strict=True))
        unit = max(many - one, 1e-9) / (units[way] - 1)
        found[way] = (unit, max(0.0, one - unit))
    return found


def _timed(train: Callable[[int], None], units: int) -> float:
    start = time.perf_counter()
    train(units)
    return time.perf_counter() - start


def _enough(train: Callable[[int], None], seconds: float) -> tuple[int, list[tuple[float, float]]]:
    """Return a number of units that takes so long beyond the first, and the times of one unit and of so many.

    The very first call is not measured.
    """
    train(1)
    one, units = _timed(train, 1), 2
    while (many := _timed(train, units)) - one < seconds:
        wanted = math.ceil(1.1 * seconds * (units - 1) / max(many - one, 1e-6)) + 1
        units = min(max(wanted, units + 1), GROWTH * units)
    return units, [(one, many)]


class Lanes(inline.Inline):
    """Runs calls in this process: those that make releases in so many lanes, others one after another."""

    def __init__(self, lanes: int, device: str) -> None:
        self.lanes, self.device = lanes, device

    @contextlib.contextmanager
    def pool(self, _on_progress: Any = None) -> Iterator[LanesPool]:
        """Return a pool."""
        yield LanesPool(self.lanes, self.device)


class LanesPool(inline.InlinePool):
    """A pool of threads for calls with a lane."""

    def __init__(self, lanes: int, device: str) -> None:
        super().__init__()
        self._lanes, self._device = lanes, device

    def outcomes(self) -> Generator[Outcome[Any], None, None]:
        """Run all calls with a lane, and then the others."""
        beside = [index for index, call in self._waiting.items() if call.lane is not None and self._lanes > 1]
        calls = [(self._waiting.pop(index), index) for index in beside]
        with ThreadPoolExecutor(self._lanes) as threads:
            yield from threads.map(self._run, calls)
        yield from super().outcomes()

    def _run(self, call_and_index: tuple[Call[Any], int]) -> Outcome[Any]:
        with lane(self._device):
            return inline.run(*call_and_index)


def whole_run(name: str, device: str, *, quick: bool) -> dict[str, Any]:
    """Return how long some models take from fresh weights to an attack's record, and how busy the device is.

    All of it in lanes as on the command line, and as `one_lane` without; a small one before them is not measured.
    """
    _whole_run(name, device, 1, quick=True)
    several = _whole_run(name, device, lanes_of(quick=quick), quick=quick)
    return {**several, "one_lane": _whole_run(name, device, 1, quick=quick)}


def _whole_run(name: str, device: str, lanes: int, *, quick: bool) -> dict[str, Any]:
    side, channels, models, epochs = RUN[name]
    pool, models, epochs = (QUICK_POOL, 4, 1) if quick else (POOL, models, epochs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.npz"
        rng = np.random.default_rng(0)
        arrays = {}
        for role, n in (("train", pool), ("test", pool // 4)):
            arrays[f"x_{role}"] = rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8)
            arrays[f"y_{role}"] = np.arange(n) % 10
        np.savez(path, **arrays)
        batch = 8 if quick else gpu_cases.ON_CARD[name].batch
        options = {"path": str(path), "model": name, "epochs": epochs, "batch_size": batch, "lr": gpu_cases.LR}
        task, busy = resolve("task", "npz", options), Busy(device)
        store = Store(Path(folder) / "store")
        attacks = [resolve("attack", each) for each in ("confidence", "lira")]
        grid = Grid([task], [resolve("defense", "ce")], attacks, models, device=device)
        with busy.watched():
            records = list(run(grid, store, Lanes(lanes, device)))
    failed = [record.reason for record in records if record.status != "ok"]
    return {
        "lanes": lanes,
        "models": models,
        "seconds": busy.wall,
        "models_per_hour": HOUR * models / busy.wall,
        "busy": busy.share,
        "replays": busy.replays,
        **({"said": failed} if failed else {}),
    }
