import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.audits.leave_out import LeaveOut, distinct, tolerance
from privbench.errors import DataError
from privbench.stats.neighbours import nearest


def naive(points, removed):
    """The estimator's definition (Perez-Cruz 2008), word for word."""
    n, d = points.shape
    stays = np.ones(n, dtype=bool)
    stays[removed] = False
    total = 0.0
    for i in range(n):
        distances = np.linalg.norm(points - points[i], axis=1)
        others = np.arange(n) != i
        rho, nu = distances[others].min(), distances[others & stays].min()
        total += d * math.log(nu / rho) + math.log((stays.sum() - stays[i]) / (n - 1))
    return total / n


@given(st.integers(4, 30), st.integers(1, 5), st.data())
def test_the_update_agrees_with_computing_it_all_again(n, d, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    k = data.draw(st.integers(1, n - 2))
    points = rng.normal(size=(n, d))
    removed = np.stack([rng.permutation(n)[:k] for _ in range(4)])
    assert LeaveOut(points).losses(removed) == pytest.approx([naive(points, row) for row in removed], abs=1e-10)


def test_lists_are_prolonged_where_all_neighbours_go():
    points = np.random.default_rng(0).normal(size=(300, 2))
    removed = nearest(points[:3], points, 250)[1]
    assert LeaveOut(points).losses(removed) == pytest.approx([naive(points, row) for row in removed], abs=1e-10)


@pytest.mark.parametrize("n", [5, 100, 2001])
def test_an_isolated_point_that_goes(n):
    points = np.random.default_rng(n).normal(size=(n, 3))
    points[7 % n] = 1000
    expected = (n - 1) / n * math.log((n - 2) / (n - 1))
    assert LeaveOut(points).losses(np.array([[7 % n]]))[0] == pytest.approx(expected, rel=1e-12)


def test_a_loss_can_be_negative_and_is_not_clipped():
    points = np.random.default_rng(0).normal(size=(50, 2))
    assert LeaveOut(points).losses(np.arange(50)[:, None]).min() < 0


def test_a_tight_cluster_that_goes_is_a_large_loss():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(50, 4)), 10 + 1e-4 * rng.normal(size=(5, 4))])
    loss = LeaveOut(points)
    assert loss.losses(np.arange(50, 55)[None])[0] > 10 * loss.losses(np.arange(5)[None])[0]


def test_a_dimension_can_be_given():
    points = np.random.default_rng(0).normal(size=(40, 3))
    removed = np.arange(10).reshape(2, 5)
    three, six = (LeaveOut(points, d).losses(removed) for d in (3, 6))
    counts = (35 * math.log(34 / 39) + 5 * math.log(35 / 39)) / 40
    assert six - counts == pytest.approx(2 * (three - counts))


def test_equal_points_and_too_few_are_refused():
    points = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(DataError, match="2 of 11 points equal another"):
        LeaveOut(np.concatenate([points, points[:1]]))
    with pytest.raises(DataError, match="3 or more"):
        LeaveOut(points[:2])
    for removed in (np.zeros((1, 0), dtype=int), np.arange(9)[None]):
        with pytest.raises(ValueError, match="1 to 8"):
            LeaveOut(points).losses(removed)


def test_of_points_in_one_place_one_stays():
    points = np.random.default_rng(0).normal(size=(20, 2))
    many = np.concatenate([points, points[:4], points[:4] + 1e-12])
    kept, apart = distinct(many, tolerance(many))
    assert kept.tolist() == list(range(20))
    assert apart == pytest.approx(nearest(points, points, exclude=np.arange(20))[0][:, 0])
    assert distinct(np.ones((30, 2)))[0].tolist() == [0]
