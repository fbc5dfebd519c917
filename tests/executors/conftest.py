"""Shared by the tests of executors: job functions that workers can import, and both ways of starting workers."""

import multiprocessing
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)


@pytest.fixture
def jobs(monkeypatch):
    """The module of job functions, importable here and, through the path that is handed on, in workers."""
    if sys.platform == "win32":
        pytest.skip("the jobs use signals and fcntl")
    monkeypatch.syspath_prepend(HERE)
    import local_jobs

    yield local_jobs
    assert multiprocessing.active_children() == []


@pytest.fixture(params=["fork", "spawn"])
def started(request, monkeypatch):
    """How workers are started: forked by a nursery, as on Linux, or spawned, as elsewhere."""
    if request.param == "spawn":
        monkeypatch.setattr("privbench.executors.local.FORKS", False)
    elif sys.platform != "linux":
        pytest.skip("workers are forked on Linux")
    return request.param
