"""The search for the largest noise, on functions that are known."""

import pytest
from privbench_dp.noise_search import MOST, largest_noise

from privbench.errors import CellFailed


def test_bisection_finds_the_edge():
    asked = []

    def reached(noise):
        asked.append(noise)
        return 0.9 if noise <= 1.7 else 0.3

    found = largest_noise(reached, 0.8, 10)
    assert 1.7 * 2 ** (-12 / 2**10) <= found <= 1.7
    assert found in asked
    assert len(asked) == 11
    assert largest_noise(lambda _noise: 1.0, 0.8, 7) == pytest.approx(MOST * 2 ** (-12 / 2**7))
    with pytest.raises(CellFailed, match=r"accuracy=0\.8 is out of reach"):
        largest_noise(lambda _noise: 0.5, 0.8, 7)
