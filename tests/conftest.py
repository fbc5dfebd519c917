"""What the tests share: an executor without processes, and a task that trains in a moment."""

import numpy as np
import pytest

from privbench.errors import CellFailed, PrivbenchError
from privbench.executors import Outcome
from privbench.plugins.loading import resolve
from privbench.store.store import Store


class Inline:
    """Runs jobs here and now, and counts them."""

    def __init__(self):
        self.ran = []

    def run(self, function, jobs, on_progress=None):
        for index, job in enumerate(jobs):
            self.ran.append(job)
            result, error = None, None
            try:
                result = function(
                    job, lambda done, stage="", index=index: on_progress and on_progress(index, done, stage)
                )
            except PrivbenchError as raised:
                error = raised
            except Exception as raised:  # noqa: BLE001
                error = CellFailed(f"{type(raised).__name__}: {raised}")
            yield Outcome(index, job, result, error, 0.0)


@pytest.fixture(autouse=True)
def _as_on_a_fresh_machine(monkeypatch):
    """Nothing of the person's who runs the tests: no settings, and no width of a terminal."""
    for name in ("COLUMNS", "PRIVBENCH_DATA", "PRIVBENCH_DEBUG", "PRIVBENCH_PLUGINS", "PRIVBENCH_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root that the environment names."""
    monkeypatch.setenv("PRIVBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def inline():
    return Inline()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def table_file(tmp_path_factory):
    """An .npz of a small table: three overlapping blobs, of which an overfit model remembers its members.

    Classes have unequal sizes, and the pool an odd number of examples, which are no whole number of batches.
    """
    rng = np.random.default_rng(0)
    y = np.array([0, 1, 2, 0, 1, 0, 2])[np.arange(244) % 7]
    x = rng.normal(size=(244, 8)).astype(np.float32) + 0.6 * np.eye(3, 8, dtype=np.float32)[y]
    path = tmp_path_factory.mktemp("data") / "blobs.npz"
    np.savez(path, x_train=x[:182], y_train=y[:182], x_test=x[182:], y_test=y[182:])
    return path


@pytest.fixture
def task(table_file):
    return resolve("task", "npz", {"path": str(table_file), "epochs": 3, "hidden": (32,), "model": "mlp"})
