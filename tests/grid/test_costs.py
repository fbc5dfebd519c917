import numpy as np
import pytest

from privbench.grid import costs


def test_a_ratio_lies_within_a_factor_of_two_at_best():
    relative, low, high = costs.compared(np.full(8, 6.0), np.full(8, 2.0))
    assert (relative, low, high) == (3.0, 1.5, 6.0)


def test_seconds_that_vary_say_more():
    own, undefended = np.array([1.0, 2.0, 20.0]), np.array([1.0, 1.0, 1.0])
    relative, low, high = costs.compared(own, undefended)
    assert relative == 2.0
    assert low == 1.0
    assert 18 < high <= 20


def test_equal_work_at_unequal_moments_is_within_noise():
    """Two populations of one kind, of which one was made on a machine with other work: 1.8 times as slow."""
    generator = np.random.default_rng(0)
    own, undefended = (level * generator.lognormal(sigma=0.1, size=16) for level in (1.0, 1.8))
    relative, low, high = costs.compared(own, undefended)
    assert relative < 0.65
    assert low < 1 < high


def test_one_first_model_that_was_slow_does_not_count():
    own = np.array([2.0] * 15 + [20.0])
    assert costs.compared(own, np.ones(16))[0] == pytest.approx(2.0)
