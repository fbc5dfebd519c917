import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from privbench_attacks.attack_r import AttackR

from privbench.errors import CellFailed
from privbench.stats import intervals
from privbench.testing import parametrize_with_checks


@parametrize_with_checks(["attack:attack-r"])
def test_contract(check):
    check()


@given(seed=st.integers(0, 1000), shadows=st.integers(1, 8), n=st.integers(1, 12))
def test_is_the_share_of_out_shadows_with_no_smaller_loss(made, seed, shadows, n):
    rng = np.random.default_rng(seed)
    own, shadow = rng.integers(-2, 3, n), rng.integers(-2, 3, (shadows, n))
    member = rng.random((shadows, n)) < 0.5
    if member.all():
        member[0, 0] = False
    slow = []
    for i in range(n):
        losses = [-shadow[j, i] for j in range(shadows) if not member[j, i]]
        slow.append(np.mean([-own[i] <= each for each in losses]) if losses else 0.5)
    np.testing.assert_allclose(AttackR().score(made.Evidence(own, shadow, member)), slow, rtol=1e-15)


@pytest.mark.parametrize("out", [1, 3, 9])
def test_takes_so_few_values_that_low_rates_are_out_of_reach(made, out):
    """Strangers to all models are exchangeable: one beats all J others with probability 1 / (J + 1)."""
    phi = np.random.default_rng(0).normal(size=(out + 1, 4000))
    got = AttackR().score(made.Evidence(phi[0], phi[1:], np.zeros((out, 4000), bool)))
    assert len(np.unique(got)) <= out + 1
    low, high = intervals.clopper_pearson(int((got == got.max()).sum()), 4000, 0.999)
    assert low <= 1 / (out + 1) <= high, "the false-positive rate of the highest threshold there is"


def test_an_example_in_every_shadow_is_neither(made):
    evidence = made.Evidence([1.0, 1.0], [[0.0, 0.0]], [[True, False]])
    assert AttackR().score(evidence).tolist() == [0.5, 1.0]


def test_says_what_it_needs(made):
    with pytest.raises(CellFailed, match="trained without an example"):
        AttackR().score(made.Evidence([1.0], [[0.0]], [[True]]))
    with pytest.raises(CellFailed, match="--models 4"):
        AttackR().score(made.Evidence([1.0], np.empty((0, 1)), np.empty((0, 1))))
