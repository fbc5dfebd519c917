import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.audits.success_rates import dispersion, histogram, mean_where, posterior, shuffled_p


def _drawn(rates, models, seed):
    """Flags of (models, n) independent trials at each example's rate."""
    rng = np.random.default_rng(seed)
    return rng.random((models, len(rates))) < rates


def test_dispersion_by_hand():
    # Rbar = 1/2 of 2 trials each: sum N (R - 1/2)^2 / (1/4) = 2 (1/4 + 1/4) * 4
    found = dispersion(np.array([0, 2, 1]), np.array([2, 2, 2]))
    assert found.chi2 == pytest.approx(4.0)
    assert found.df == 2
    assert found.p == pytest.approx(np.exp(-2.0))  # a chi-square of df 2 is exponential
    assert found.ratio == pytest.approx(2.0)


def test_examples_without_trials_are_left_out():
    with_idle = dispersion(np.array([0, 2, 1, 0]), np.array([2, 2, 2, 0]))
    assert with_idle == dispersion(np.array([0, 2, 1]), np.array([2, 2, 2]))


@pytest.mark.parametrize("hits", [[0, 0, 0], [4, 4, 4]])
def test_no_spread_where_all_or_none_are_flagged(hits):
    assert np.isnan(dispersion(np.array(hits), np.array([4, 4, 4])).chi2)


def test_under_the_null_p_values_are_even():
    p = []
    for seed in range(200):
        flags = _drawn(np.full(300, 0.4), 20, seed)
        p.append(dispersion(flags.sum(axis=0), np.full(300, 20)).p)
    p = np.array(p)
    assert 0.01 < (p < 0.05).mean() < 0.11
    assert abs(p.mean() - 0.5) < 0.08


def test_two_groups_are_more_than_chance():
    flags = _drawn(np.repeat([0.3, 0.7], 150), 10, 0)
    where = np.ones_like(flags)
    found = dispersion(flags.sum(axis=0), where.sum(axis=0))
    assert found.p < 1e-10
    assert found.ratio > 2
    assert shuffled_p(flags, where, np.random.default_rng(0), 99) == pytest.approx(0.01)


def test_shuffling_holds_where_models_differ_and_rates_are_low():
    """The chi-square of rare flags rejects too often; shuffles within models do not."""
    rates = np.linspace(0.01, 0.05, 8)[:, None]
    p, chi2 = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        where = rng.random((8, 80)) < 0.5
        flags = (rng.random((8, 80)) < rates) & where
        p.append(shuffled_p(flags, where, rng, 39))
        chi2.append(dispersion(flags.sum(axis=0), where.sum(axis=0)).p)
    assert (np.array(p) <= 0.05).mean() < 0.12
    assert 0.35 < np.mean(p) < 0.75


def test_shuffling_leaves_out_what_does_not_count():
    flags = _drawn(np.full(200, 0.5), 6, 1)
    where = np.random.default_rng(2).random(flags.shape) < 0.5
    planted = np.where(where, flags, np.arange(200) % 2 == 0)
    rngs = np.random.default_rng(3), np.random.default_rng(3)
    assert shuffled_p(planted, where, rngs[0], 19) == shuffled_p(flags & where, where, rngs[1], 19)


def test_posterior_by_hand():
    low, high = posterior(np.array([0, 1]), np.array([1, 1]))  # densities 2 (1 - r) and 2 r
    assert low == pytest.approx([1 - np.sqrt(0.975), np.sqrt(0.025)])
    assert high == pytest.approx([1 - np.sqrt(0.025), np.sqrt(0.975)])


def test_posterior_covers():
    rng = np.random.default_rng(0)
    rates = rng.random(4000)
    hits = rng.binomial(8, rates)
    low, high = posterior(hits, np.full(4000, 8))
    assert ((low <= rates) & (rates <= high)).mean() == pytest.approx(0.95, abs=0.012)


def test_histogram_by_hand():
    found = histogram(np.array([0, 1, 2, 2, 0]), np.array([2, 2, 2, 2, 0]))
    mean = 5 / 8
    expected = 4 * np.array([(1 - mean) ** 2, 2 * mean * (1 - mean), mean**2])
    assert found[:, 0].tolist() == [0.0, 0.5, 1.0]
    assert found[:, 1].tolist() == [1, 1, 2]
    assert found[:, 2] == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 7)), min_size=1, max_size=30))
def test_histograms_hold_every_example(pairs):
    trials = np.array([n for _, n in pairs])
    hits = np.minimum([k for k, _ in pairs], trials)
    found = histogram(hits, trials)
    assert len(found) == trials.max() + 1
    assert found[:, 1].sum() == len(pairs)
    assert found[:, 2].sum() == pytest.approx(len(pairs))


def test_means_of_what_counts():
    values = np.array([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    where = np.array([[True, False, False], [True, True, False]])
    assert np.array_equal(mean_where(values, where), [3.0, 6.0, np.nan], equal_nan=True)
