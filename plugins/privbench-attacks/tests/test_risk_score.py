import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from privbench_attacks.risk_score import RiskScore, posterior

from privbench.errors import CellFailed
from privbench.testing import parametrize_with_checks


@parametrize_with_checks(["attack:risk-score", "attack:risk-score:signal=loss,bins=20"])
def test_contract(check):
    check()


def slow(values, inside, own, bins):
    """Walk through the bins of one class as one would on paper."""
    edges = [values.min() + (values.max() - values.min()) * i / bins for i in range(bins + 1)]

    def place(x):
        found = [i for i in range(bins) if edges[i] <= x]
        return found[-1] if found else 0

    shares = {kind: [0.0] * bins for kind in (True, False)}
    for value, kind in zip(values, inside, strict=True):
        shares[bool(kind)][place(value)] += 1 / (inside == kind).sum()
    scores = []
    for x in own:
        at = place(x)
        for step in range(bins):
            near = [i for i in (at - step, at + step) if 0 <= i < bins and shares[True][i] + shares[False][i] > 0]
            if near:
                break
        total = shares[True][near[0]] + shares[False][near[0]]
        scores.append(shares[True][near[0]] / total)
    return scores


@given(seed=st.integers(0, 10_000), bins=st.integers(1, 9), k=st.integers(2, 12))
def test_equals_a_slow_version(seed, bins, k):
    rng = np.random.default_rng(seed)
    values = rng.integers(-8, 9, k) / 8 * bins  # edges fall on values
    inside = rng.permutation(np.arange(k) % 2 == 0)
    own = rng.integers(-12, 13, 7) / 8 * bins
    if (values == values[0]).all():
        values[0] += 1.0
    np.testing.assert_allclose(posterior(values, inside, own, bins), slow(values, inside, own, bins), atol=1e-12)


def test_by_hand(made):
    """One class; minus losses 1, 10, 100: two bins of a decade each, of which the upper one is closed."""
    shadow, member = [[-1.0, -100.0, -1.0, -5.0]], [[True, False, True, True]]
    attack = RiskScore(signal="loss", bins=2)
    evidence = made.Evidence([-1.0, -50.0, -10.0, -1e-300], shadow, member)
    assert attack.score(evidence).tolist() == [1.0, 0.0, 0.0, 1.0]


def test_is_the_posterior_at_even_odds(made):
    """Three quarters of members, and a quarter of the non-members, have a small loss."""
    loss = np.array([1.0, 1.0, 1.0, 10.0] + [1.0, 10.0, 10.0, 10.0] * 2)
    member = np.arange(12) < 4
    got = RiskScore(signal="loss", bins=2).score(made.Evidence(-loss, [-loss], [member]))
    np.testing.assert_allclose(got, np.where(loss == 1.0, 0.75, 0.25))


def test_classes_are_apart_and_an_unknown_one_is_a_coin(made):
    own, labels = [-1.0, -10.0] * 3, [0, 0, 1, 1, 2, 2]
    member = [[True, False, False, True, True, True]]
    got = RiskScore(signal="loss", bins=2).score(made.Evidence(own, [own], member, labels=labels))
    assert got.tolist() == [1.0, 0.0, 0.0, 1.0, 0.5, 0.5]


def test_equal_values_tell_nothing(made):
    got = RiskScore().score(made.Evidence([-2.0] * 4, [[-2.0] * 4], [[True, False, True, False]]))
    assert got.tolist() == [0.5] * 4


def test_says_what_it_needs(made):
    with pytest.raises(CellFailed, match="no class has both"):
        RiskScore().score(made.Evidence([-1.0], [[-1.0]], [[True]]))
