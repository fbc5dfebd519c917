import numpy as np
import pytest

from privbench.builtin.audits.epsilon import Epsilon
from privbench.contracts.context import Context
from privbench.errors import CellFailed
from privbench.plugins.loading import resolve
from privbench.population.claims import Claim
from privbench.population.membership import members


@pytest.fixture(scope="module")
def population(overfit):
    return overfit(6)


def planted(leak, models=8, n=400, seed=0):
    rng = np.random.default_rng((seed, 9))
    member = np.stack([members(seed, index, n) for index in range(models)])
    return rng.normal(size=member.shape) + leak * member, member


def bounds(leak, claimed=None, seed=0, **options):
    return Epsilon(**options).bounds(*planted(leak, seed=seed), np.random.default_rng(seed), claimed)


def test_a_population_is_audited(population):
    found = resolve("audit", "epsilon").measure(population, Context())
    assert found.values["epsilon_lower_bound"] >= 0
    assert found.values["pairs_told_apart"].low > 0.5  # an overfit model
    assert found.values["attack_implied_epsilon"] >= 0
    assert found.arrays["scores"].shape == found.arrays["member"].shape == (6, len(population.dataset.pool))
    assert [row["target"] for row in found.tables["By target"]] == list(range(6))
    assert "epsilon_claimed" not in found.values
    again = resolve("audit", "epsilon").measure(population, Context())
    assert again.values == found.values


def test_the_attack_is_an_option(population):
    audit = resolve("audit", "epsilon:attack=confidence")
    assert audit.compared(population) == ()
    assert audit.measure(population, Context()).values["pairs_told_apart"].value > 0.5
    assert resolve("audit", "epsilon:attack=lira:shadows=undefended").compared(population)[0].defense.name == "ce"


@pytest.mark.parametrize("attack", ["lira:queries=18", "gan-leaks", "inversion"])
def test_an_attack_that_does_not_apply_fails_in_one_line(population, attack):
    with pytest.raises(CellFailed):
        resolve("audit", "epsilon", {"attack": attack}).measure(population, Context())


def test_no_leak_gives_no_bound():
    found = [bounds(0.0, seed=seed).values for seed in range(10)]
    assert sum(each["epsilon_lower_bound"] > 0 for each in found) <= 1
    assert sum(each["attack_implied_epsilon"] > 0 for each in found) <= 3


def test_a_planted_leak_gives_one():
    small, large = (bounds(leak).values for leak in (1.0, 4.0))
    assert 0.3 < small["epsilon_lower_bound"] < large["epsilon_lower_bound"]
    assert large["epsilon_lower_bound"] > 3
    assert small["attack_implied_epsilon"] < large["attack_implied_epsilon"]
    assert small["attack_implied_epsilon"] < small["attack_implied_point"]
    assert small["epsilon_one_run"].value >= small["epsilon_lower_bound"] - 0.3


def test_a_claim_is_held_against_it():
    found = bounds(4.0, claimed=Claim(0.5, 1e-5))
    assert found.values["claim_violated"] == "yes"
    assert found.values["claim_p"] < 0.01
    assert any("results contradict the claims" in note for note in found.notes)
    assert {"target", "claimed epsilon", "claimed delta", "claim's p"} <= set(found.tables["By target"][0])
    assert bounds(0.0, claimed=Claim(0.5, 1e-5)).values["claim_violated"] == "no"
    assert bounds(4.0, claimed=Claim(8.0, 1e-5)).values["claim_violated"] == "no"
    assert bounds(4.0, claimed=[Claim(8.0, 1e-5)] * 7 + [Claim(0.5, 1e-5)]).values["claim_violated"] == "yes"


def test_an_epsilon_alone_is_no_claim_that_can_be_judged():
    found = bounds(4.0, claimed=0.5).values
    assert (found["epsilon_claimed"], found["delta_claimed"]) == (0.5, None)
    assert found["claim_violated"] == "n/a: the claim has no delta"
    assert "claim_violated" not in bounds(4.0, claimed=np.inf).values
    rng = np.random.default_rng(0)
    assert Epsilon().bounds(*planted(4.0), rng, 0.5, 1e-5).values["claim_violated"] == "yes"


def test_the_claim_is_judged_at_its_own_delta_and_not_at_the_audits():
    """A mechanism that shows each bit with probability 0.02 is (0, 0.02)-DP; at delta 1e-5 its epsilon is large."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        member = np.stack([members(seed, index, 1298) for index in range(8)])
        shown = rng.random(member.shape) < 0.02
        scores = np.where(shown, np.where(member, 10.0, -10.0), 0) + 1e-3 * rng.normal(size=member.shape)
        found = Epsilon().bounds(scores, member, rng, Claim(0.1, 0.02)).values
        assert found["epsilon_lower_bound"] > 0.2
        assert found["claim_violated"] == "no"


def test_claims_are_those_of_the_releases(population, monkeypatch):
    claimed = [{"epsilon": 0.01 if index == 5 else 50.0, "delta": 1e-6} for index in range(6)]
    monkeypatch.setattr(type(population), "facts", lambda _: [*claimed[:4], {}, claimed[5]])
    found = resolve("audit", "epsilon").measure(population, Context())
    assert found.values["epsilon_claimed"] == 50.0
    shown = [row["claimed epsilon"] for row in found.tables["By target"]]
    assert shown == [50.0] * 4 + [None, 0.01]


def test_without_randomised_membership_there_is_no_lower_bound():
    found = bounds(4.0, randomised=False)
    assert found.values["epsilon_lower_bound"] is None
    assert found.values["attack_implied_epsilon"] > 1
    assert found.tables == {}
    claimed = bounds(4.0, claimed=Claim(0.5, 1e-5), randomised=False)
    assert claimed.values["claim_violated"] == "n/a: membership was not randomised"


def test_one_pair_of_models_has_no_threshold_of_others():
    scores, member = planted(1.0, models=2)
    assert Epsilon().bounds(scores, member, np.random.default_rng(0)).values["attack_implied_epsilon"] is None
