import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.audits.loss_bounds import bound, sample_bound, saw_yang_mo, upper_semideviation

losses = st.lists(st.floats(-5, 5), min_size=3, max_size=40).map(np.array)


def test_saw_yang_mo_by_hand():
    assert saw_yang_mo(10, 2) == pytest.approx(3 / 11)
    assert round(saw_yang_mo(10, 2), 4) == 0.2727
    assert round(saw_yang_mo(100, 3), 4) == 0.1188
    assert saw_yang_mo(50, 1e9) == pytest.approx(1 / 51)
    assert saw_yang_mo(5, 0.5) == 1


def test_the_semi_deviation_divides_by_all():
    assert upper_semideviation(np.array([0.0, 0.0, 0.0, 4.0])) == pytest.approx(math.sqrt(9 / 4))
    assert bound(np.array([0.0, 0.0, 0.0, 4.0]), 0.01) == pytest.approx(1 + 10 * 1.5)


@given(losses, st.floats(1e-6, 0.99), st.floats(1e-6, 0.99))
def test_mu_falls_with_gamma(values, one, other):
    low, high = sorted((one, other))
    assert bound(values, low) >= bound(values, high)
    assert sample_bound(values, low) >= sample_bound(values, high)
    assert bound(values, high) >= values.mean()


@given(losses, st.floats(0.01, 0.9))
def test_no_more_than_gamma_lie_above_the_bound(values, gamma):
    assert (values > bound(values, gamma) + 1e-9).mean() <= gamma


@given(st.integers(2, 500), st.floats(0.001, 0.9))
def test_the_sample_bound_inverts_the_inequality(n, gamma):
    values = np.random.default_rng(n).normal(size=n)
    limit = sample_bound(values, gamma)
    if math.isinf(limit):
        assert gamma < 1 / (n + 1)
    else:
        k = (limit - values.mean()) / values.std(ddof=1)
        assert saw_yang_mo(n, k * (1 + 1e-9)) <= gamma * (1 + 1e-9)
        assert saw_yang_mo(n, k * 0.99) > gamma or saw_yang_mo(n, k) == saw_yang_mo(n, k * 0.99)


def test_a_small_gamma_takes_many_losses():
    rng = np.random.default_rng(0)
    assert math.isinf(sample_bound(rng.normal(size=99_998), 1e-5))
    assert math.isfinite(sample_bound(rng.normal(size=99_999), 1e-5))
