"""Pytest plugin: tests of training loops on the CPU and on a card.

    pytest_plugins = ["privbench.pytest_plugin"]        # in tests/conftest.py, or -p privbench.pytest_plugin

The marker `gpu` is for tests that need a card; they are skipped without one. The fixture `device` runs a test on "cpu"
and, with the marker, on "cuda". `--hypothesis-profile=privbench` is a profile of Hypothesis with the same examples in
every run and no deadlines. Importing this module imports neither torch nor Hypothesis.
"""

from __future__ import annotations

from typing import cast

import pytest

PROFILE = "privbench"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Return the device of replayed steps: a tape on the CPU, or CUDA graphs."""
    return cast("str", request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and the profile before Hypothesis looks it up."""
    config.addinivalue_line("markers", "gpu: needs a CUDA card; skipped without one")
    if config.getoption("--hypothesis-profile", default=None) == PROFILE:
        import hypothesis

        slow = [hypothesis.HealthCheck.too_slow]  # on a busy machine: tests do not depend on speed
        hypothesis.settings.register_profile(PROFILE, deadline=None, derandomize=True, suppress_health_check=slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a card if there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA card")
