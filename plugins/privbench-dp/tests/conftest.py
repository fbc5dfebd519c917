"""What the tests share: Hypothesis draws the same examples everywhere, at whatever speed."""

import hypothesis
import pytest

SLOW = [hypothesis.HealthCheck.too_slow]  # on a busy machine
hypothesis.settings.register_profile("privbench", deadline=None, derandomize=True, suppress_health_check=SLOW)
hypothesis.settings.load_profile("privbench")


def pytest_runtest_setup(item):
    """Skip what needs a card where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA card")
