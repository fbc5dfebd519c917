import math

import pytest

from privbench.errors import CellFailed
from privbench.population.claims import Claim, weakest
from privbench.records.claims import of_record


def test_a_claim_is_an_epsilon_that_is_finite():
    assert Claim.of({"epsilon": 1.0, "delta": 1e-5}) == Claim(1.0, 1e-5)
    assert Claim.of({"epsilon": 1.0}) == Claim(1.0, None)
    assert Claim.of({"epsilon": 1.0, "delta": 0.0, "replace_one": 1.0}) == Claim(1.0, 0.0, replace_one=True)
    for delta in (math.nan, -1.0):
        assert Claim.of({"epsilon": 1.0, "delta": delta}) == Claim(1.0, None)
    for facts in ({}, {"train_loss": 0.1}, {"epsilon": math.inf}, {"epsilon": math.nan}):
        assert Claim.of(facts) is None


def test_the_facts_of_a_claim_make_it_again():
    for claim in (Claim(1.0, 1e-5), Claim(1.0, None), Claim(2.0, 0.0, replace_one=True)):
        assert Claim.of(claim.facts) == claim


def test_replacing_one_example_is_two_steps():
    assert Claim(0.0, 0.02).replacing() == (0.0, 0.04)
    assert Claim(1.0, 0.01).replacing() == pytest.approx((2.0, 0.01 * (1 + math.e)))
    assert Claim(1.0, 0.0).replacing() == (2.0, 0.0)
    assert Claim(455.7, 1e-5).replacing() == (911.4, 1.0)
    assert Claim(1e6, 1e-5).replacing() == (2e6, 1.0)
    assert Claim(-1e6, 0.01).replacing() == (0.0, 0.02)
    assert Claim(1.0, 0.01, replace_one=True).replacing() == (1.0, 0.01)
    with pytest.raises(ValueError, match="delta"):
        Claim(1.0, None).replacing()


@pytest.mark.parametrize(
    ("releases", "index"),
    [
        ([{}, {"train_loss": 1.0}], None),
        ([], None),
        ([{"epsilon": 1.0}, {"epsilon": 3.0}, {"epsilon": 2.0}], 1),
        ([{"epsilon": 3.0, "delta": 1e-6}, {"epsilon": 3.0, "delta": 1e-5}, {"epsilon": 1.0, "delta": 0.5}], 1),
        ([{"epsilon": 3.0, "delta": 1e-6}, {"epsilon": 3.0, "delta": 1e-6}], 0),
        ([{"epsilon": 3.0, "delta": 1e-6}, {"epsilon": 3.0}], 1),  # no delta: nothing is promised
        ([{"epsilon": 3.0}, {"loss": 1.0}, {"epsilon": math.inf}], 1),
        ([{"epsilon": 3.0}, {"epsilon": math.nan}], 1),
    ],
)
def test_the_weakest_promise(releases, index):
    assert weakest(releases) == index


def test_facts_of_a_record_are_those_of_the_release_that_promises_least():
    releases = [
        {"epsilon": 2.0, "delta": 1e-5, "noise": 5.0},
        {"epsilon": 455.7, "delta": 1e-5, "noise": 0.3},
        {"epsilon": 4.0, "delta": 1e-5, "noise": 3.0},
    ]
    facts, claims = of_record(releases)
    assert facts == releases[1]
    assert (claims.release, claims.releases) == (1, 3)
    assert (claims.epsilon_smallest, claims.epsilon_median, claims.epsilon_largest) == (2.0, 4.0, 455.7)


def test_a_release_without_a_claim_promises_least():
    facts, claims = of_record([{"epsilon": 2.0, "noise": 5.0}, {"train_loss": 0.1}])
    assert facts == {"train_loss": 0.1}
    assert (claims.release, claims.releases, claims.epsilon_largest) == (1, 1, 2.0)
    facts, claims = of_record([{"epsilon": math.inf}, {"epsilon": math.nan}])
    assert (claims.release, claims.epsilon_smallest, claims.epsilon_median) == (0, math.inf, math.inf)


def test_facts_without_claims_are_means_of_the_releases_that_give_them():
    assert of_record([{"loss": 1.0, "a": 3.0}, {}, {"loss": 2.0}]) == ({"a": 3.0, "loss": 1.5}, None)
    assert of_record([]) == of_record([{}]) == ({}, None)


def test_a_fact_that_is_nan_states_nothing():
    assert of_record([{"loss": math.nan, "a": 3.0}, {"loss": 2.0}]) == ({"a": 3.0, "loss": 2.0}, None)
    facts, claims = of_record([{"epsilon": math.nan, "delta": math.nan}])
    assert facts == {"epsilon": math.inf}
    assert claims.epsilon_largest == math.inf


@pytest.mark.parametrize(
    ("name", "value"), [("epsilon", -0.1), ("delta", -1.0), ("delta", 1.5), ("epsilon", -math.inf)]
)
def test_an_impossible_claim_has_no_record(name, value):
    with pytest.raises(CellFailed, match=f"a release states {name} {value:g}; it must lie in"):
        of_record([{"epsilon": 1.0}, {name: value}])
