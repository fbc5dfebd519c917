import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.stats import intervals

LAW = settings(deadline=None, derandomize=True, max_examples=60)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 1000, 0, 0.003682),
        (5, 1000, 0.001625, 0.011629),
        (50, 100, 0.39832, 0.60168),
        (10, 5000, 0.000959, 0.003675),
        (7, 7, 0.025 ** (1 / 7), 1),
        (0, 0, 0, 1),
    ],
)
def test_clopper_pearson_gives_the_values_of_methods(k, n, low, high):
    assert intervals.clopper_pearson(k, n) == pytest.approx((low, high), abs=5e-6)


def test_clopper_pearson_at_another_level_is_binomial_tails():
    from scipy.stats import binom

    low, high = intervals.clopper_pearson(3, 20, level=0.8)
    assert binom.sf(2, 20, low) == pytest.approx(0.1)
    assert binom.cdf(3, 20, high) == pytest.approx(0.1)


def test_accuracy_of_one_model_is_clopper_pearson():
    found = intervals.accuracy(np.arange(1000)[None] < 5)
    assert (found.value, found.low, found.high) == pytest.approx((0.005, 0.001625, 0.011629), abs=5e-7)
    assert found.n == 1000


def test_accuracy_counts_examples_not_models():
    one = np.random.default_rng(0).random((1, 200)) < 0.7
    copies = np.repeat(one, 16, axis=0)
    single, many = intervals.accuracy(one), intervals.accuracy(copies)
    assert many.value == single.value
    assert many.n == 3200
    assert many.high - many.low == pytest.approx(single.high - single.low, rel=0.02)
    certain = intervals.accuracy(np.ones((16, 200), dtype=bool))
    assert certain.low == pytest.approx(0.025 ** (1 / 200))


def test_accuracy_where_only_some_count():
    correct, where = np.array([[1, 0, 1], [1, 1, 0]], dtype=bool), np.array([[1, 1, 0], [0, 1, 0]], dtype=bool)
    found = intervals.accuracy(correct, where)
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert intervals.accuracy(correct, ~where & where).value is None
    half = intervals.accuracy(correct[:, 1:2])
    assert (half.value, half.low, half.high) == (0.5, 0, 1)


@LAW
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_rate_lies_in_its_interval(counts):
    hits, misses = np.array(counts).T
    found = intervals.rate(hits, hits + misses)
    if found.value is None:
        assert not (hits + misses).any()
    else:
        assert found.value == pytest.approx(hits.sum() / (hits + misses).sum(), abs=1e-9)
        assert 0 <= found.low <= found.value <= found.high <= 1
