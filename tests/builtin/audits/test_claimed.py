"""Mechanisms whose privacy is known, and what the audit says of claims that are true, and of claims that are not."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from privbench.builtin.audits.claimed import NO_DELTA, NOT_RANDOMISED, judged
from privbench.population.claims import Claim
from privbench.population.membership import members
from privbench.stats import epsilon_bounds as auditing

N, RUNS = 400, 200
CHANCE = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
"""A true claim is called violated in 5 % of runs at most; three standard errors of that are allowed."""


def response(member, rng, epsilon=0.5):
    """Randomised response: each membership bit is told, and flipped with probability 1 / (1 + e^epsilon)."""
    return (member ^ (rng.random(member.shape) < 1 / (1 + math.exp(epsilon)))) + 1e-6 * rng.random(member.shape)


def gaussian(member, rng, sigma=2.0):
    return member + sigma * rng.normal(size=member.shape)


def gaussian_delta(epsilon, sigma=2.0):
    """Delta of the Gaussian mechanism of sensitivity 1, exactly (Balle & Wang 2018)."""
    half, far = 1 / (2 * sigma), epsilon * sigma
    return norm.cdf(half - far) - math.exp(epsilon) * norm.cdf(-half - far)


def laplace(member, rng, scale=2.0):
    return member + rng.laplace(scale=scale, size=member.shape)


def revealing(member, rng, delta=0.02):
    """Each bit is shown with probability delta, and nothing else: (0, delta)-DP."""
    shown = rng.random(member.shape) < delta
    return np.where(shown, np.where(member, 10.0, -10.0), 0.0) + 1e-3 * rng.normal(size=member.shape)


def both(member, rng):
    """Randomised response, and now and then the bit itself: (0.5, 0.02)-DP."""
    shown = rng.random(member.shape) < 0.02
    return np.where(shown, 10.0 * member, response(member, rng))


def shared(member, rng):
    """Randomised response with the same coins for all targets: their answers hang together as closely as can be."""
    coins = rng.random(member.shape[1]) < 1 / (1 + math.exp(0.5))
    return (member ^ coins) + 1e-6 * rng.random(member.shape)


def guessed(mechanism, targets, seed, n=N):
    rng = np.random.default_rng((seed, targets))
    member = np.stack([members(seed, index, n) for index in range(targets)])
    return [auditing.matched(*each, rng) for each in zip(mechanism(member, rng), member, strict=True)]


def share_violated(mechanism, targets, claim, runs=RUNS, n=N):
    found = [judged([claim] * targets, guessed(mechanism, targets, seed, n)).values for seed in range(runs)]
    assert {each["claim_violated"] for each in found} <= {"yes", "no"}
    return np.mean([each["claim_violated"] == "yes" for each in found])


TRUE = {
    "response": (response, Claim(0.5, 0.0)),
    "response, replacing": (response, Claim(1.0, 0.0, replace_one=True)),
    "shared": (shared, Claim(0.5, 0.0)),
    "gaussian": (gaussian, Claim(0.5, gaussian_delta(0.5))),
    "gaussian, large delta": (gaussian, Claim(0.0, gaussian_delta(0.0))),
    "laplace": (laplace, Claim(0.5, 0.0)),
    "revealing": (revealing, Claim(0.0, 0.02)),
    "revealing, more than it must": (revealing, Claim(0.1, 0.02)),
    "revealing, replacing": (revealing, Claim(0.0, 0.04, replace_one=True)),
    "both": (both, Claim(0.5, 0.02)),
}


@pytest.mark.parametrize("targets", [1, 2, 8])
@pytest.mark.parametrize("name", TRUE)
def test_a_true_claim_is_seldom_called_violated(name, targets):
    mechanism, claim = TRUE[name]
    assert share_violated(mechanism, targets, claim) <= CHANCE


@pytest.mark.parametrize("targets", [1, 8])
@pytest.mark.parametrize(
    ("mechanism", "claim"),
    [
        (lambda member, rng: response(member, rng, 2.0), Claim(0.5, 0.0)),
        (lambda member, rng: response(member, rng, 2.0), Claim(0.5, 1e-5)),
        (response, Claim(0.2, 0.0, replace_one=True)),
        (lambda member, rng: gaussian(member, rng, 0.5), Claim(0.5, 1e-5)),
        (lambda member, rng: laplace(member, rng, 0.5), Claim(0.3, 0.0)),
        (lambda member, rng: revealing(member, rng, 0.2), Claim(0.1, 1e-5)),
    ],
)
def test_a_false_claim_is_found_out(mechanism, targets, claim):
    assert share_violated(mechanism, targets, claim, runs=20, n=1200) >= 0.9


def test_what_holds_for_adding_and_removing_is_too_much_for_replacing():
    """Randomised response at 1 is (1, 0)-DP for one example more or less, and (2, 0)-DP for another in its place."""
    guesses = guessed(lambda member, rng: response(member, rng, 1.0), 4, 0, n=2000)
    assert judged([Claim(1.0, 0.0)] * 4, guesses).values["claim_violated"] == "no"
    assert judged([Claim(1.0, 0.0, replace_one=True)] * 4, guesses).values["claim_violated"] == "yes"


def test_each_release_is_held_against_its_own_claim():
    guesses = guessed(lambda member, rng: response(member, rng, 1.0), 8, 0, n=2000)
    true, false = Claim(1.0, 1e-6), Claim(0.1, 1e-6)
    assert judged([true] * 8, guesses).values["claim_violated"] == "no"
    for claims in ([false] * 8, [true] * 7 + [false], [false] * 4 + [Claim(455.7, 1e-6)] * 4, [None] * 7 + [false]):
        assert judged(claims, guesses).values["claim_violated"] == "yes"
    found = judged([true] * 7 + [false], guesses)
    assert (found.values["epsilon_claimed"], found.values["delta_claimed"]) == (1.0, 1e-6)
    rows = found.tables["By target"]
    assert [row["claimed epsilon"] for row in rows] == [1.0] * 7 + [0.1]
    assert rows[7]["claim's p"] < 1e-4 < rows[0]["claim's p"]


def test_the_claim_that_is_contradicted_is_named_where_claims_differ():
    """Beside "epsilon_claimed 8", "violated" would be read as said of 8."""
    guesses = guessed(lambda member, rng: response(member, rng, 1.0), 4, 0, n=2000)
    claims = [Claim(8.0, 0.0), Claim(0.1, 0.0), None, Claim(8.0, 0.0)]
    (note,) = [note for note in judged(claims, guesses).notes if "Releases claim" in note]
    assert "epsilon 0.1 to 8, and epsilon_claimed is the largest; 1 of 4 releases claim nothing." in note
    assert note.endswith("is that of target 1, which claims 0.1.")
    assert not any("Releases claim" in note for note in judged([Claim(8.0, 0.0)] * 4, guesses).notes)


def test_what_is_not_claimed_is_not_violated():
    guesses = guessed(lambda member, rng: response(member, rng, 4.0), 2, 0)
    found = judged([Claim(0.1, None)] * 2, guesses)
    assert found.values["claim_violated"] == NO_DELTA
    assert "claim_p" not in found.values
    assert any("without a delta" in note for note in found.notes)
    some = judged([Claim(0.1, None), Claim(0.1, 0.0)], guesses)
    assert some.values["claim_violated"] == "yes"
    assert [row["claim's p"] is None for row in some.tables["By target"]] == [True, False]
    assert any("without a delta" in note for note in some.notes)
    assert judged([Claim(0.1, 0.0)] * 2, []).values["claim_violated"] == NOT_RANDOMISED
