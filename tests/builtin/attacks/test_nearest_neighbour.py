import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.builtin.attacks.nearest_neighbour import NearestNeighbour, memorisation, ratios
from privbench.stats import intervals
from privbench.stats.intervals import Bounded
from privbench.testing import parametrize_with_checks


@parametrize_with_checks(["attack:nearest-neighbour"])
def test_contract(check):
    check()


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_each_generated_example_votes_for_its_nearest_candidate(helpers):
    target = helpers.Published(column(0, 10, 20, 10), column(1, 2, 11))
    # votes 2, 1, 0, and 1 for the copy; distances to the nearest generated one 1, 1, 9, 1
    np.testing.assert_allclose(target.score(NearestNeighbour(scale="none")), [2 + 1 / 3, 1 + 1 / 3, 1 / 11, 1 + 1 / 3])


@given(st.integers(0, 10_000))
def test_distance_only_orders_candidates_of_equal_votes(helpers, seed):
    rng = np.random.default_rng(seed)
    x, made = (rng.integers(0, 12, (n, 2)).astype(np.float32) for n in (15, 25))
    scores = helpers.Published(x, made).score(NearestNeighbour(scale="none"))
    squares = np.square(x[:, None] - made[None]).sum(-1)
    votes = np.floor(scores)
    assert votes[np.unique(x, axis=0, return_index=True)[1]].sum() == len(made)
    order = np.lexsort((-squares.min(axis=1), votes))
    assert (np.diff(scores[order]) >= 0).all()


def test_memorisation_by_hand():
    inside, outside = np.array([1.0, 2.0, 0.0, 3.0]), np.array([2.0, 2.0, 0.0, 1.0])
    rate = memorisation(inside, outside, np.arange(4), 0.5)
    assert rate == (1 + 0.5 + 0.5 + 0) / 4
    low, high = intervals.clopper_pearson(2, 4)
    assert (rate.alone.low, rate.alone.high, rate.alone.n) == (pytest.approx(low), pytest.approx(high), 4)
    assert memorisation(inside, outside, np.arange(4), 0.2) == pytest.approx(0.5 + ((1 + 0.2 + 0.2) / 4 - 0.2) / 1.6)
    assert memorisation(outside, inside + 9, np.arange(4), 0.9) == 1
    assert memorisation(inside + 9, outside, np.arange(4), 0.9) == 0


def test_synthetic_examples_near_one_candidate_hang_together():
    near, far = np.zeros(300), np.ones(300)
    alone = memorisation(near, far, np.zeros(300, int), 0.5)
    assert (alone, alone.alone.high) == (1, 1)
    assert alone.alone.low == pytest.approx(0.025)  # one observation
    assert memorisation(near, far, np.arange(300), 0.5).alone.low > 0.98


def test_ratios_by_hand():
    found = ratios(np.array([1.0, 2.0, 0.0, 3.0]), np.array([2.0, 2.0, 0.0, 1.0]))
    assert found["distance_ratio"] == 1  # of 0.5, 1, 1, 3
    assert found["distance_ratio_low"] == pytest.approx(0.5 + 0.15 * 0.5)
    assert found["distance_ratio_high"] == pytest.approx(3 - 0.15 * 2)


def test_what_is_infinite_is_left_out():
    assert ratios(np.array([0.0, 1.0, 1.0]), np.zeros(3)) == {}
    mostly = ratios(np.ones(9), np.array([0.0, 2, 2, 2, 2, 2, 2, 2, 2]))  # the highest of nine: infinite
    assert mostly == {"distance_ratio": 0.5, "distance_ratio_low": 0.5}


@pytest.mark.parametrize(("members", "others"), [(600, 100), (100, 600), (300, 300)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_rate_is_that_of_copies_whatever_the_numbers_of_members(helpers, members, others, share):
    rates, covered = [], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(members + others, 6)).astype(np.float32)
        member = np.arange(len(x)) < members
        made = rng.normal(size=(300, 6)).astype(np.float32)
        copied = int(300 * share)
        made[:copied] = x[rng.choice(members, copied)] + rng.normal(0, 1e-3, (copied, 6))
        found = helpers.Published(x, made, reference=x[~member]).findings(NearestNeighbour(), member)
        rates.append(found["memorisation_rate"])
        covered += rates[-1].alone.low <= 0.5 + share / 2 <= rates[-1].alone.high
    assert np.mean(rates) == pytest.approx(0.5 + share / 2, abs=0.06)  # 3 standard errors of the widest case
    assert covered >= 17


def test_repeated_synthetic_examples_count_once(helpers):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    member = np.arange(200) < 100
    made = np.concatenate([rng.normal(size=(60, 4)), np.repeat(x[:1], 300, axis=0)]).astype(np.float32)
    found = helpers.Published(x, made, reference=x[100:]).findings(NearestNeighbour(), member)
    assert found["memorisation_rate"].alone.n == 61
    assert found["memorisation_rate"] < 0.7


def test_copies_of_members_are_memorised(helpers):
    target, member = helpers.published(0, copies=True)
    found = target.findings(NearestNeighbour(), member)
    assert all(isinstance(each, Bounded) for each in found.values())
    assert found["memorisation_rate"] > 0.99
    assert found["distance_ratio"] < 0.3


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_fresh_examples_are_as_near_to_either_side_of_equal_size(share, helpers):
    rates = []
    for seed in range(20):
        target, _ = helpers.published(seed, copies=False)
        n = len(target.x)
        member = np.random.default_rng(seed).permutation(n) < n * share
        rates.append(target.findings(NearestNeighbour(), member)["memorisation_rate"])
    assert abs(np.mean(rates) - 0.5) < 3 * np.std(rates, ddof=1) / len(rates) ** 0.5
    assert np.std(rates) < 0.1


def test_one_sided_truth_has_no_findings(helpers):
    target, member = helpers.published(0, copies=True)
    assert target.findings(NearestNeighbour(), np.ones_like(member)) == {}
