import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.stats import epsilon_bounds as auditing


def test_rates_of_the_table():
    assert round(auditing.rates_point(300, 1000, 10, 1000), 4) == 3.4012
    assert round(auditing.rates_bound(300, 1000, 10, 1000), 4) == 2.6972


def test_rates_have_two_sides():
    assert auditing.rates_bound(990, 1000, 700, 1000) == pytest.approx(auditing.rates_bound(300, 1000, 10, 1000))
    assert auditing.rates_bound(50, 100, 50, 100) == 0
    assert auditing.rates_bound(5, 100, 50, 100) == 0
    assert auditing.rates_bound(0, 0, 0, 0) == 0
    assert auditing.rates_bound(300, 1000, 10, 1000, 0.05) < auditing.rates_bound(300, 1000, 10, 1000)
    assert auditing.rates_point(3, 10, 0, 10) is None
    assert auditing.rates_point(0, 0, 0, 10) is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1000, 100, 100, 0), 3.4930),
        ((1000, 100, 90, 0), 1.6308),
        ((1000, 1000, 600, 0), 0.2975),
        ((1000, 1000, 600, 1e-5), 0.2972),
        ((1000, 100, 50, 0), 0),
    ],
)
def test_one_run_of_the_table(arguments, expected):
    assert auditing.one_run_bound(*arguments) == pytest.approx(expected, abs=5e-5)


@given(st.integers(5, 400))
def test_when_all_guesses_are_right(guesses):
    q = 0.05 ** (1 / guesses)
    assert auditing.one_run_bound(1000, guesses, guesses) == pytest.approx(max(math.log(q / (1 - q)), 0), abs=1e-6)


@given(st.integers(1, 60), st.data())
def test_delta_never_raises_the_bound_and_right_guesses_do(guesses, data):
    right = data.draw(st.integers(0, guesses - 1))
    bound = auditing.one_run_bound(100, guesses, right)
    assert auditing.one_run_bound(100, guesses, right, 1e-3) <= bound + 1e-9
    assert auditing.one_run_bound(100, guesses, right + 1) >= bound


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="3 right of 2"):
        auditing.one_run_bound(10, 2, 3)


def test_the_best_cut_is_the_best():
    rng = np.random.default_rng(0)
    member = rng.random(400) < 0.5
    scores = np.round(rng.normal(size=400) + member, 1)

    def bound(cut):
        flagged = scores >= cut
        counts = (flagged & member).sum(), member.sum(), (flagged & ~member).sum(), (~member).sum()
        return auditing.rates_bound(*map(int, counts))

    assert bound(auditing.best_cut(scores, member)) == pytest.approx(max(map(bound, np.unique(scores))))


def test_pairs_hold_one_member_each_and_are_ordered_by_surety():
    member = np.array([True, True, False, False, False])
    scores = np.array([5.0, 1.0, 0.0, 0.0, 0.0])
    found = auditing.matched(scores, member, np.random.default_rng(0))
    assert found.surety.tolist() == [5, 1]
    assert found.right.all()
    assert not auditing.matched(np.zeros(5), member, np.random.default_rng(0)).right.any()  # ties are not right
    assert not auditing.matched(-scores, member, np.random.default_rng(0)).right.any()


def halves(n, rng):
    member = np.zeros(n, dtype=bool)
    member[rng.permutation(n)[: n // 2]] = True
    return member


def test_randomised_response_on_halves_is_bounded_by_its_epsilon():
    """Each example's bit is told, and flipped with probability 1 / (1 + e^eps): replacing one example costs 2 eps."""
    epsilon, n, above = 1.0, 400, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        member = halves(n, rng)
        told = member ^ (rng.random(n) < 1 / (1 + math.exp(epsilon)))
        pairs = auditing.matched(told + 1e-6 * rng.random(n), member, rng)
        found = auditing.audited(pairs.right).epsilon
        above += found > 2 * epsilon
    assert above <= 60 * 0.05 + 3  # about two standard deviations
    assert found > 0


def test_scores_that_know_nothing_seldom_give_a_bound():
    above = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        above += auditing.audited(auditing.matched(rng.normal(size=200), halves(200, rng), rng).right).epsilon > 0
    assert above <= 6


def test_an_attack_that_knows_all_gives_a_large_bound():
    rng = np.random.default_rng(0)
    member = halves(400, rng)
    found = auditing.audited(auditing.matched(member.astype(float), member, rng).right)
    assert (found.guesses, found.right) == (200, 200)
    q = (0.05 / 4) ** (1 / 200)
    assert found.epsilon == pytest.approx(math.log(q / (1 - q)))


def test_half_of_the_runs_decide_whatever_ties_them():
    assert auditing.of_many([3.0, 0.0, 1.0, 2.0]) == 2.0
    assert auditing.of_many([3.0, 0.0, 1.0]) == 1.0
    assert auditing.of_many([4.0]) == 4.0
    assert [auditing.level_of_each(n) for n in (1, 2, 4)] == [0.05, 0.025, 0.025]
    assert auditing.level_of_each(3) == pytest.approx(0.1 / 3)


def test_p_of_one_run_is_bonferronis():
    right = np.repeat([True, False], [90, 10])
    assert auditing.claim_p(right, 1.0, 0.0, shares=(1.0,)) == auditing.one_run_p(1.0, 100, 100, 90)
    assert auditing.claim_p(right, 3.0, 0.0, shares=(0.5, 1.0)) == 2 * auditing.one_run_p(3.0, 100, 50, 50)
    assert auditing.claim_p(right, 50.0, 0.0) == 1
    assert auditing.claim_p(right, 0.0, 1.0) == 1
    assert auditing.claim_p(np.zeros(0, dtype=bool), 0.0, 0.0) == 1
    assert auditing.claim_p(right, 0.0, 1e-4) > auditing.claim_p(right, 0.0, 0.0)


def test_one_run_contradicts_what_lies_below_its_bound():
    right = np.repeat([True, False], [80, 20])
    bound = auditing.audited(right, 1e-4).epsilon
    assert auditing.claim_p(right, bound - 1e-6, 1e-4) <= 0.05 < auditing.claim_p(right, bound + 1e-6, 1e-4)


def test_p_of_many_sees_one_that_is_false_and_many_that_are_a_little():
    assert auditing.p_of_many([0.03]) == 0.03
    assert auditing.p_of_many([0.01, 0.9]) == pytest.approx(0.02)
    assert auditing.p_of_many([0.001] + [0.9] * 7) == pytest.approx(2 * 8 * 0.001)
    assert auditing.p_of_many([0.01] * 8) == pytest.approx(2 * 2 * 0.01)
    assert auditing.p_of_many([1.0] * 8) == 1
