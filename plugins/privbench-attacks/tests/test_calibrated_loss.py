import numpy as np
import pytest
from privbench_attacks.calibrated_loss import CalibratedLoss
from scipy.stats import norm

from privbench.errors import CellFailed
from privbench.stats import intervals, signals
from privbench.testing import parametrize_with_checks, synthetic_evidence

ONLINE, OFFLINE = CalibratedLoss(), CalibratedLoss(mode="offline")


@parametrize_with_checks(
    ["attack:calibrated-loss", "attack:calibrated-loss:mode=offline", "attack:calibrated-loss:scale=loss"]
)
def test_contract(check):
    check()


def test_by_hand(made):
    shadow, member = [[4.0, 9.0], [2.0, 1.0], [0.0, 2.0]], [[1, 1], [0, 0], [0, 0]]
    evidence = made.Evidence([3.0, 3.0], shadow, member)
    assert ONLINE.score(evidence).tolist() == [3 - (4 + 1) / 2, 3 - (9 + 1.5) / 2]
    assert OFFLINE.score(evidence).tolist() == [3 - 1, 3 - 1.5]


@pytest.mark.parametrize("mu", [1.0, 2.0])
@pytest.mark.parametrize("attack", [ONLINE, OFFLINE], ids=lambda attack: attack.mode)
def test_of_equal_gaussians_it_is_the_best_test(made, mu, attack):
    """phi_out ~ N(level, 1), phi_in ~ N(level + mu, 1): AUC is Phi(mu / sqrt 2), however levels differ."""
    rng = np.random.default_rng(0)
    n, shadows = 4000, 400
    member = rng.random((shadows + 1, n)) < 0.5
    phi = rng.normal(0, 30, n) + mu * member + rng.normal(size=member.shape)
    got = attack.score(made.Evidence(phi[0], phi[1:], member[1:]))
    auc, se = intervals.delong(got, member[0])
    assert abs(auc - norm.cdf(mu / np.sqrt(2 * (1 + 1 / shadows)))) < 3 * se
    said = (got >= 0) == member[0]
    if attack.threshold == 0:
        assert abs(said.mean() - norm.cdf(mu / 2)) < 3 * np.sqrt(0.25 / n), "its threshold is the best one"


def test_unknown_difficulty_is_no_evidence(made):
    evidence = made.Evidence([5.0, 5.0, 5.0], [[1.0] * 3, [2.0] * 3], [[1, 1, 0], [1, 0, 0]])
    assert ONLINE.score(evidence).tolist() == [0.0, 3.5, 0.0]
    assert OFFLINE.score(evidence).tolist() == [0.0, 3.0, 3.5]


def test_says_what_it_needs(made):
    with pytest.raises(CellFailed, match="trained both with and without an example; none has them; mode=offline"):
        ONLINE.score(made.Evidence([1.0], [[0.0]], [[False]]))
    with pytest.raises(CellFailed, match=r"none has them\.$"):
        ONLINE.score(made.Evidence([1.0], [[0.0]], [[True]]))
    with pytest.raises(CellFailed, match="trained without an example"):
        OFFLINE.score(made.Evidence([1.0], [[0.0]], [[True]]))


def test_the_loss_saturates_where_its_logit_does_not():
    evidence, _ = synthetic_evidence(ONLINE.needs, leak=8.0)
    logit, loss = (CalibratedLoss(scale=scale).score(evidence) for scale in ("logit", "loss"))
    sure = evidence.signals(signals.phi)[:, 0] > 4
    assert sure.sum() > 10
    assert loss[sure].std() < 0.5 * logit[sure].std()
