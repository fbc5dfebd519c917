import numpy as np
import pytest

from privbench.builtin.audits.fidelity import frechet, frechet_of_moments, precision_recall
from privbench.stats.neighbours import nearest


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_of_two_gaussians_on_a_line():
    assert (
        frechet_of_moments(np.array([1.0]), np.array([[4.0]]), np.array([4.0]), np.array([[9.0]])) == 9 + (2 - 3) ** 2
    )


def test_of_diagonal_covariances():
    one, other = np.array([1.0, 4.0, 0.0]), np.array([9.0, 1.0, 2.0])
    expected = (1 - 3) ** 2 + (2 - 1) ** 2 + 2
    zero = np.zeros(3)
    assert frechet_of_moments(zero, np.diag(one), zero, np.diag(other)) == pytest.approx(expected)


def test_of_covariances_that_do_not_commute():
    from scipy.linalg import sqrtm

    a, b = (np.cov(normal(20, 4, seed=i), rowvar=False) for i in (1, 2))
    expected = np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_of_moments(np.zeros(4), a, np.zeros(4), b) == pytest.approx(expected, rel=1e-9)


def test_a_set_is_nothing_from_itself_and_symmetric_to_others():
    a, b = normal(50, 5), 2 * normal(60, 5, seed=1) + 1
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert frechet(a, a + 3) == pytest.approx(5 * 9)
    assert frechet(a[:3], b) > 0  # a covariance of rank 2


def test_precision_and_recall_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])
    generated = np.array([[0.5], [1.5], [50.0], [60.0], [70.0]])
    # k = 1: real balls reach 1, 1, 1, 1, 97; generated ones 1, 1, 10, 10, 10
    assert precision_recall(real, generated, 1) == (1.0, 3 / 5)
    assert precision_recall(real[:4], generated, 1) == (2 / 5, 3 / 4)


def test_precision_and_recall_of_independent_draws_copies_and_strangers():
    real, fresh = normal(300, 4), normal(300, 4, seed=1)
    assert precision_recall(real, fresh) == pytest.approx((0.9, 0.9), abs=0.08)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, fresh + 50) == (0, 0)
    precision, recall = precision_recall(real, 0.1 * fresh)
    assert precision > 0.95
    assert recall < 0.4
    brute = np.linalg.norm(fresh[:, None] - real, axis=2) <= nearest(real, real, 3, exclude=np.arange(300))[0][:, -1]
    assert precision_recall(real, fresh)[0] == brute.any(axis=1).mean()
