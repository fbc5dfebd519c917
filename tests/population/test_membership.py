from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.population.membership import members, partner, shadow_order
from privbench.seeds import fresh_salt

SALT = "0123456789abcdef0123456789abcdef"


@given(seed=st.integers(0, 2**31), pair=st.integers(0, 500), n=st.integers(2, 300), salt=st.sampled_from(["", SALT]))
def test_a_pair_splits_the_pool_into_a_half_and_its_complement(seed, pair, n, salt):
    first, second = members(seed, 2 * pair, n, salt), members(seed, 2 * pair + 1, n, salt)
    assert (first ^ second).all()
    assert first.sum() == n // 2


def test_partners_are_each_others():
    assert [partner(index) for index in range(4)] == [1, 0, 3, 2]


def test_halves_of_different_pairs_seeds_and_salts_are_independent():
    drawn = [(seed, 2 * pair, salt) for seed in range(3) for pair in range(3) for salt in ("", SALT, fresh_salt())]
    rows = np.stack([members(seed, index, 4000, salt) for seed, index, salt in drawn])
    agreement = (rows[:, None] == rows[None]).mean(axis=-1)[~np.eye(27, dtype=bool)]
    assert np.abs(agreement - 0.5).max() < 5.5 * 0.5 / np.sqrt(4000)  # of 351 pairs, at a fresh salt


def test_the_public_halves_stay_what_they_are():
    """Others would train every population anew, and change every published number."""
    assert np.flatnonzero(members(0, 4, 20)).tolist() == [0, 3, 4, 8, 9, 11, 12, 13, 18, 19]


@pytest.mark.parametrize("salt", ["", SALT])
def test_shadows_come_in_an_order_of_the_target_s_own(salt):
    orders = np.array([shadow_order(0, target, 64, salt) for target in range(64)])
    assert (np.sort(orders, axis=1) == np.arange(64)).all()
    assert (orders == [shadow_order(0, target, 64, salt) for target in range(64)]).all()
    # Any model in any place: the mean place of each is 31.5, with a standard deviation of 18.5 / 8.
    places = np.argsort(orders, axis=1).mean(axis=0)
    assert np.abs(places - 31.5).max() < 4.5 * 18.5 / 8
    # Partners stand side by side no more often than any two: 2 of 64 times, over 64 x 32 pairs.
    beside = (np.abs(np.diff(np.argsort(orders, axis=1).reshape(64, 32, 2), axis=2)) == 1).mean()
    assert abs(beside - 2 / 64) < 4.5 * np.sqrt(2 / 64 / (64 * 32))


def test_the_order_follows_from_seed_salt_and_target():
    first = shadow_order(0, 3, 16)
    assert first not in (shadow_order(1, 3, 16), shadow_order(0, 2, 16), shadow_order(0, 3, 16, SALT))
