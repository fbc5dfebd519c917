import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.audits.divergence import closed_form_k, expected_privacy_loss, kl_divergence, smallest, thin
from privbench.errors import DataError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("d", "shift", "scale", "one", "five"),
    [(1, 0, 1, -0.020, 0.002), (1, 1, 1, 0.485, 0.492), (2, 0, 2, 0.627, 0.649)],
)
def test_the_estimator_gives_the_table(d, shift, scale, one, five):
    """For n = m = 2000. Over 100 draws the sd is 0.04 to 0.06 with one neighbour, 0.02 to 0.04 with five."""
    draws = [(normal(2000, d, seed=(0, i)), shift + scale * normal(2000, d, seed=(1, i))) for i in range(3)]
    assert np.mean([kl_divergence(x, y) for x, y in draws]) == pytest.approx(one, abs=0.06)
    assert np.mean([kl_divergence(x, y, k=5) for x, y in draws]) == pytest.approx(five, abs=0.04)


def test_different_neighbour_counts_differ_by_digammas():
    x, y = normal(1500, 2), normal(1500, 2, seed=1)
    found = [kl_divergence(x, y, k=k, neighbours_in_y=other) for k, other in ((1, 1), (1, 5), (5, 1))]
    assert found == pytest.approx([0, 0, 0], abs=0.15)  # psi(5) - psi(1) is 2.08


def test_by_hand():
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [7.0]])
    # rho 1, 1, 2; nu 0.5, 0.5, 2.5
    expected = (math.log(0.5) + math.log(0.5) + math.log(1.25)) / 3 + math.log(2 / 2)
    assert kl_divergence(x, y) == pytest.approx(expected)


def test_coinciding_points_are_refused():
    x = normal(10, 2)
    with pytest.raises(DataError, match="3 of 10 points coincide"):
        kl_divergence(x, np.concatenate([x[:3], normal(10, 2, seed=1)]))


def test_closed_form():
    n = 1000
    assert [closed_form_k(kappa, n) for kappa in (-1.0, 0.0, 1e-9, math.log(2) - 1e-9, 50.0)] == [1, 1, 1, 500, 1000]
    assert all(math.log(n / (n - closed_form_k(kappa, n))) >= kappa for kappa in (0.01, 0.5, 2.0))


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_smallest_is_found(first, most):
    asked = []
    found = smallest(lambda k: asked.append(k) or k >= first, most)
    assert found == (first if first <= most else most + 1)
    assert max(asked) <= most


def test_k_is_the_smallest_that_reaches_kappa():
    members, artificial = normal(200, 2) + 0.4, normal(400, 2, seed=1)
    found = expected_privacy_loss(members, artificial)
    assert found.kappa == pytest.approx(0.16, abs=0.15)
    assert 1 < found.k < 200
    assert found.members.mean >= found.kappa
    below = expected_privacy_loss(members, artificial, k=found.k - 1)
    assert below.members.mean < found.kappa
    assert [row[0] for row in found.sweep] == sorted({1, 5, 20, 100, found.k})


def test_translation_changes_nothing():
    members, artificial, heldout = normal(60, 3), normal(150, 3, seed=1), normal(60, 3, seed=2)
    one = expected_privacy_loss(members, artificial, heldout, k=3)
    other = expected_privacy_loss(members + 5, artificial + 5, heldout + 5, k=3)
    assert other.members.losses == pytest.approx(one.members.losses, abs=1e-9)
    assert other.difference.value == pytest.approx(one.difference.value, abs=1e-6)


@pytest.mark.parametrize(
    ("d", "before", "ours"), [(2, (0.10, 0.42, 0.97), (0.15, 0.49, 1.07)), (64, (1.23, 3.01, 5.53), (2.6, 4.8, 7.3))]
)
def test_unrelated_records_have_a_mu_too(d, before, ours):
    """Artificial data and records are independent draws of one Gaussian, n = 2000.

    `ours` are means over four draws of 400 records. Those of `before` rest on an unknown number; in 64 dimensions
    they lie a quarter to a half below, as a few dozen records do that miss the largest losses.
    """
    artificial = normal(2000, d)
    found = expected_privacy_loss(normal(400, d, seed=1), artificial, k=1, sweep=(1, 5, 20))
    for (_, side, _), expected, published in zip(found.sweep, ours, before, strict=True):
        assert side.mu == pytest.approx(expected, rel=0.35)
        assert 0.4 < published / side.mu < 1.1


def test_independent_data_have_no_difference():
    covered = 0
    for seed in range(8):
        members, artificial, heldout = np.split(normal(400, 4, seed=(seed, 7)), [120, 280])
        found = expected_privacy_loss(members, artificial, heldout, k=3, sweep=())
        covered += found.difference.low <= 0 <= found.difference.high
        assert found.closer.low < 0.5 + 0.05
    assert covered >= 7


def with_outliers(n, d, seed):
    """Bulk, and a twentieth of records each far out in a direction of its own: those a generator may memorise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d))
    points[: n // 20] *= 4
    return points


def test_remembered_outliers_raise_the_bound_for_members_alone():
    members, heldout = with_outliers(400, 16, 0), with_outliers(400, 16, 1)
    rng = np.random.default_rng(2)
    remembered = np.repeat(members[:20], 5, axis=0) + 0.05 * rng.normal(size=(100, 16))
    artificial = np.concatenate([remembered, rng.normal(size=(700, 16))])
    found = expected_privacy_loss(members, artificial, heldout, k=5, sweep=())
    assert found.difference.low > 1
    assert found.members.mu > 2 * found.heldout.mu
    fresh = expected_privacy_loss(members, rng.normal(size=(800, 16)), heldout, k=5, sweep=())
    assert fresh.difference.low <= 0 <= fresh.difference.high


def test_copies_of_all_members_show_in_distances_and_not_in_the_bound():
    members, heldout = normal(300, 16), normal(300, 16, seed=1)
    found = expected_privacy_loss(members, members.copy(), heldout)
    assert found.closer.value == 1.0
    assert found.closer.low > 0.95
    assert found.difference.low <= 0.5  # the limit of this measure that its notes tell
    assert found.k == 1
    assert "published unchanged" in found.notes[0]


def test_repeated_points_count_once():
    members, artificial = normal(50, 2), normal(100, 2, seed=1)
    one = expected_privacy_loss(members, artificial, k=2, sweep=())
    again = expected_privacy_loss(members, np.concatenate([artificial, artificial[:30] + 1e-13]), k=2, sweep=())
    assert (again.points, again.notes[0][:26]) == (100, "30 of 130 synthetic points")
    assert again.members.losses == pytest.approx(one.members.losses, abs=1e-9)


def test_a_bound_for_one_more_record_takes_many_records():
    members, artificial = normal(50, 2), normal(100, 2, seed=1)
    found = expected_privacy_loss(members, artificial, k=1, sweep=())
    assert found.members.mu_sample is None
    assert "takes 99,999 records; of 50 there is none" in found.notes[-1]
    assert expected_privacy_loss(members, artificial, k=1, gamma=0.05, sweep=()).members.mu_sample is not None


def test_members_and_held_out_records_are_as_many():
    found = expected_privacy_loss(normal(50, 2), normal(100, 2, seed=1), normal(31, 2, seed=2), k=1)
    assert len(found.members.losses) == len(found.heldout.losses) == 31
    assert thin(np.arange(10), 4).tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((normal(5, 2), normal(50, 3)), {}, r"differ in width: \[2, 3\]"),
        ((normal(5, 2), normal(50, 2)), {"gamma": 0.0}, "between 0 and 1"),
        ((normal(5, 2), normal(50, 2)), {"k": 49}, "1 to 48"),
        ((normal(5, 2), np.zeros((50, 2))), {}, "1 distinct synthetic points"),
        ((normal(5), normal(50, 2)), {}, r"shape \(5,\)"),
        ((np.full((5, 2), np.nan), normal(50, 2)), {}, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    with pytest.raises(DataError, match=message):
        expected_privacy_loss(*arguments, **options)
