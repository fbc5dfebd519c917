"""Privacy levels from an ensemble's votes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.defenses import valuation
from privbench.builtin.defenses.valuation import RISKY, SAFE, VAGUE
from privbench.errors import BadOption


def rankings(models, n, seed):
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) for _ in range(models)])


@given(
    models=st.integers(1, 7),
    n=st.integers(1, 60),
    quantile=st.floats(0.01, 0.5),
    less=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_levels_are_what_the_votes_say_and_never_two_at_once(models, n, quantile, less, seed):
    needed = max(models // 2 + 1, models - less)
    places = rankings(models, n, seed)
    found = valuation.levels(places, quantile, needed)
    assert (found.dtype, found.shape) == (np.int8, (n,))
    for i in range(n):
        safe = sum(place < quantile * n for place in places[:, i]) >= needed
        risky = sum(place >= (1 - quantile) * n for place in places[:, i]) >= needed
        assert not (safe and risky)
        assert found[i] == (SAFE if safe else RISKY if risky else VAGUE)


def test_votes_of_three_models_on_four_examples_by_hand():
    places = np.array([[0, 1, 2, 3], [1, 2, 0, 3], [0, 3, 1, 2]])
    assert valuation.levels(places).tolist() == [SAFE, VAGUE, VAGUE, RISKY]
    assert valuation.levels(places, votes=2).tolist() == [SAFE, RISKY, SAFE, RISKY]
    assert valuation.levels(places, quantile=0.25).tolist() == [VAGUE] * 4
    assert valuation.levels(places, quantile=0.25, votes=2).tolist() == [SAFE, VAGUE, VAGUE, RISKY]


@pytest.mark.parametrize(("quantile", "votes"), [(0.6, 3), (0.5, 1), (0.5, 4), (0.0, 3)])
def test_what_makes_no_partition_is_refused(quantile, votes):
    with pytest.raises(BadOption, match="no partition"):
        valuation.levels(rankings(3, 8, 0), quantile, votes)


def test_a_member_far_below_the_threshold_is_safe_by_sign_and_risky_by_distance():
    u = np.array([[-9.0, -0.1, 0.2, 3.0]])
    assert valuation.ranks(u, "signed").tolist() == [[0, 1, 2, 3]]
    assert valuation.ranks(u, "abs").tolist() == [[3, 0, 1, 2]]
    assert valuation.levels(valuation.ranks(u, "signed"))[0] == SAFE
    assert valuation.levels(valuation.ranks(u, "abs"))[0] == RISKY


def test_each_models_ranking_is_its_own():
    u = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, -5.0]])
    assert valuation.ranks(u).tolist() == [[2, 0, 1], [1, 2, 0]]


@pytest.mark.parametrize(("start", "end", "null"), [(0.75, 1.0, 0.0039), (0.5, 1.0, 0.0625), (0.0, 0.5, 0.0625)])
def test_independent_rankings_overlap_as_the_null_says_and_equal_ones_wholly(start, end, null):
    assert valuation.overlap_null(5, start, end) == pytest.approx(null, abs=5e-5)
    n = 40_000
    found = valuation.overlap(rankings(5, n, 0), start, end)
    assert found == pytest.approx(null, abs=4 * np.sqrt(null / (n * (end - start))))
    same = np.tile(np.random.default_rng(0).permutation(103), (5, 1))
    assert valuation.overlap(same, start, end) == 1.0


def test_the_overlap_table_holds_each_bin_with_its_null():
    places = rankings(3, 40, 0)
    table = valuation.overlap_table(places)
    assert table.shape == (len(valuation.BINS), 4)
    start, end, found, null = table[-1]
    assert (start, end) == (0.75, 1.0)
    assert found == (places >= 30).all(axis=0).sum() / 10
    assert null == 1 / 16
    assert np.isnan(valuation.overlap(rankings(2, 3, 0), 0.0, 0.0))
