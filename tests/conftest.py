"""What the tests share: an executor without processes, and a task that trains in a moment."""

import contextlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from privbench.executors import inline
from privbench.plugins.loading import resolve
from privbench.population.population import Job, Population
from privbench.store.store import Store


class Inline(inline.Inline):
    """Runs calls here and now, and counts the releases that they make."""

    gpus = 0

    def __init__(self):
        self.ran = []

    @contextlib.contextmanager
    def pool(self, on_progress=None):
        with super().pool(on_progress) as pool:
            submit = pool.submit

            def counted(call):
                if isinstance(call.job, Job | Population):
                    call = replace(call, function=partial(self._make, call.function))
                return submit(call)

            pool.submit = counted
            yield pool

    def _make(self, function, job, report):
        self.ran.append(job)
        return function(job, report)


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


@pytest.fixture(scope="session")
def make_all():
    """Make the releases and answers that a population lacks; return it."""

    def made(population, queries=(1,)):
        from privbench.population.releases import make

        for job in population.missing(queries):
            make(job, lambda _done, _stage="": None)
        return population

    return made


@pytest.fixture(scope="session")
def overfit(table_file, tmp_path_factory, make_all):
    """Undefended models of the table, overfit by default."""

    def population(models, seed=0, *, epochs=30, width=64, folder="store"):
        task = resolve("task", "npz", {"path": str(table_file), "epochs": epochs, "hidden": (width,), "model": "mlp"})
        store = Store(tmp_path_factory.mktemp(folder))
        return make_all(Population(task, task.load(), resolve("defense", "ce"), models, seed, "cpu", store))

    return population


def pytest_terminal_summary(terminalreporter):
    """Say how many faults of each kind the tests in `faults` have tried, and how many did no harm."""
    reports = [each for some in terminalreporter.stats.values() for each in some if getattr(each, "when", "") == "call"]
    told = [value for each in reports for name, value in getattr(each, "user_properties", ()) if name == "faults"]
    figures = {}
    for kind, tried, survived in told:
        before = figures.get(kind, (0, 0))
        figures[kind] = before[0] + tried, before[1] + survived
    if figures:
        text = "; ".join(
            f"{tried} {kind} tried, {survived} survived" for kind, (tried, survived) in sorted(figures.items())
        )
        terminalreporter.write_line(f"faults: {text}")
