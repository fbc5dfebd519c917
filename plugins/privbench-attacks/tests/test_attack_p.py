import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from privbench_attacks.attack_p import AttackP
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from privbench.errors import CellFailed
from privbench.stats import intervals
from privbench.testing import parametrize_with_checks, synthetic_evidence

numbers = st.lists(st.integers(-5, 5), min_size=2, max_size=30)


@parametrize_with_checks(["attack:attack-p", "attack:attack-p:fpr=0.1"])
def test_contract(check):
    check()


def scores(made, own, population):
    return AttackP().score(made.Evidence(own, reference=made.Answered(population)))


@given(own=numbers, population=numbers)
def test_is_the_share_of_the_population_with_no_smaller_loss(made, own, population):
    loss, theirs = -np.array(own), -np.array(population)
    slow = [np.mean([mine <= other for other in theirs]) for mine in loss]
    np.testing.assert_array_equal(scores(made, own, population), slow)


@given(data=st.data(), own=numbers, population=numbers)
def test_ties_are_all_that_it_loses_to_the_loss_itself(made, data, own, population):
    member = np.array(data.draw(st.permutations(np.arange(len(own)) % 2 == 0)))
    got = scores(made, own, population)
    tied = (got[member][:, None] == got[~member]).mean()
    lost = abs(roc_auc_score(member, got) - roc_auc_score(member, own))
    assert lost <= tied / 2 + 1e-12
    order = np.argsort(own, kind="stable")
    assert (np.diff(got[order]) >= 0).all(), "a monotone step function of the loss"


def test_a_larger_population_loses_less():
    rng = np.random.default_rng(0)
    member = np.arange(2000) % 2 == 0
    own = rng.normal(size=2000) + member
    lost = []
    for size in (10, 100, 10_000):
        population = np.sort(rng.normal(size=size))
        got = np.searchsorted(population, own, side="right")
        lost.append(abs(roc_auc_score(member, got) - roc_auc_score(member, own)))
    assert lost[2] < 1e-3 < lost[0]
    assert lost[2] < lost[1] < lost[0]


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.3])
def test_its_threshold_keeps_the_false_positive_rate(made, fpr):
    rng = np.random.default_rng(1)
    attack = AttackP(fpr=fpr)
    evidence = made.Evidence(
        rng.normal(size=5000), reference=made.Answered(norm.ppf(np.linspace(0.0001, 0.9999, 5000)))
    )
    flagged = int((attack.score(evidence) >= attack.threshold).sum())
    low, high = intervals.clopper_pearson(flagged, 5000)
    assert low <= fpr <= high


def test_takes_no_more_values_than_the_population_can_tell():
    evidence, _ = synthetic_evidence(AttackP.needs, leak=2.0, examples=400)
    assert len(np.unique(AttackP().score(evidence))) <= len(evidence.reference.labels) + 1


def test_says_that_it_needs_a_population(made):
    with pytest.raises(CellFailed, match="reference examples"):
        scores(made, [1.0, 2.0], np.empty((0, 1)))


def test_only_a_rate_gives_a_threshold():
    assert AttackP().threshold is None
    assert AttackP(fpr=0.25).threshold == 0.75
