"""What pytest takes to test a loop on the CPU and on a card.

    pytest_plugins = ["privbench.pytest_plugin"]        # in tests/conftest.py, or -p privbench.pytest_plugin

The marker `gpu` is of tests that need a card, which are skipped where there is none. The fixture `device` runs a test
on "cpu" and, marked so, on "cuda". `--hypothesis-profile=privbench` is a profile of Hypothesis with the same examples
every time and no deadlines. Importing this module does not import torch, nor Hypothesis.
"""

from __future__ import annotations

from typing import cast

import pytest

PROFILE = "privbench"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where steps are replayed: on a tape, or as CUDA graphs."""
    return cast("str", request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and the profile before Hypothesis looks for it."""
    config.addinivalue_line("markers", "gpu: needs a CUDA card; skipped without one")
    if config.getoption("--hypothesis-profile", default=None) == PROFILE:
        import hypothesis

        slow = [hypothesis.HealthCheck.too_slow]  # on a busy machine: tests ask for no particular speed
        hypothesis.settings.register_profile(PROFILE, deadline=None, derandomize=True, suppress_health_check=slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a card where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA card")
