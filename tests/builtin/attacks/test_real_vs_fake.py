import numpy as np
import pytest

from privbench.builtin.attacks.real_vs_fake import RealVsFake, held_out_accuracy, log_odds, noise, privacy_loss
from privbench.stats.intervals import Bounded
from privbench.testing import parametrize_with_checks


@parametrize_with_checks(["attack:real-vs-fake", "real-vs-fake:mode=slide-literal", "real-vs-fake:features=pca"])
def test_contract(check):
    check()


def test_three_quarters_verified_are_half_a_privacy_loss():
    assert privacy_loss(0.75) == 0.5
    assert privacy_loss(0.5) == 0
    assert privacy_loss(0.25) == -0.5  # never cut off


def test_a_threshold_from_one_half_judges_the_other():
    member = np.arange(400) < 200
    scores = np.where(member, np.arange(400) % 4 > 0, np.arange(400) % 4 == 0).astype(float)  # 3 of 4, 1 of 4
    assert held_out_accuracy(scores, member, np.random.default_rng(0)) == 0.75
    assert held_out_accuracy(-scores, member, np.random.default_rng(0)) == 0.5  # no threshold is better than all
    assert held_out_accuracy(member * 1.0, member, np.random.default_rng(0)) == 1
    assert held_out_accuracy(np.arange(3.0), np.array([True, False, False]), np.random.default_rng(0)) == 0.5


def test_shuffled_membership_has_no_loss_and_is_not_cut_off():
    losses = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        losses.append(privacy_loss(held_out_accuracy(rng.normal(size=200), rng.permutation(200) < 100, rng)))
    assert abs(np.mean(losses)) < 3 * np.std(losses, ddof=1) / len(losses) ** 0.5
    assert min(losses) < 0


def test_the_log_odds_of_neighbours_by_hand():
    generated, others, asked = (np.array(v, float)[:, None] for v in ([0.0, 4.0], [10.0], [1.0, 8.0, 7.0]))
    want = np.log([9 / 1, 2 / 4, 3 / 3]) + np.log(1 / 2)
    np.testing.assert_allclose(log_odds("neighbours", generated, others, asked, 0), want)
    wide = [np.repeat(rows, 3, axis=1) for rows in (generated, others, asked)]
    want = 3 * np.log([9 / 1, 2 / 4, 3 / 3]) + np.log(1 / 2)
    np.testing.assert_allclose(log_odds("neighbours", *wide, 0), want, atol=1e-12)


@pytest.mark.parametrize("classifier", ["neighbours", "forest", "logistic", "mlp"])
def test_each_classifier_tells_two_kinds_apart_whatever_their_numbers(classifier):
    rng = np.random.default_rng(0)
    generated, others = rng.normal(1, 1, (300, 5)), rng.normal(-1, 1, (60, 5))
    asked = np.concatenate([rng.normal(1, 1, (50, 5)), rng.normal(-1, 1, (50, 5))])
    odds = log_odds(classifier, generated, others, asked, 0)
    assert np.isfinite(odds).all()
    assert ((odds >= 0) == (np.arange(100) < 50)).mean() > 0.9
    assert abs((odds >= 0).mean() - 0.5) < 0.1
    np.testing.assert_array_equal(odds, log_odds(classifier, generated, others, asked, 0))


def test_exact_copies_have_finite_odds():
    rows = np.zeros((5, 3))
    assert np.isfinite(log_odds("neighbours", rows, rows + 1, np.concatenate([rows, rows + 1]), 0)).all()
    assert np.isfinite(log_odds("neighbours", rows, rows, rows, 0)).all()


@pytest.mark.parametrize("classifier", ["neighbours", "forest"])
def test_copied_members_are_lost(classifier, helpers):
    target, member = helpers.published(0, copies=True)
    found = target.findings(RealVsFake(classifier=classifier), member)
    assert all(isinstance(each, Bounded) for each in found.values())
    assert found["privacy_loss"] > (0.9 if classifier == "neighbours" else 0.2)
    assert found["members_verified"] > (0.99 if classifier == "neighbours" else 0.7)
    # Of a perfect generator's examples, half of all fresh ones seem: the verdict itself is no line for membership.
    assert found["nonmembers_verified"] > 0.3


def test_fresh_examples_lose_nothing(helpers):
    losses = []
    for seed in range(12):
        target, member = helpers.published(seed, copies=False)
        losses.append(target.findings(RealVsFake(), member)["privacy_loss"])
    assert abs(np.mean(losses)) < 3 * np.std(losses, ddof=1) / len(losses) ** 0.5


def test_taken_literally_it_measures_realism(helpers):
    target, member = helpers.published(0, copies=False)
    found = target.findings(RealVsFake(mode="slide-literal"), member)
    assert found["privacy_loss"] == 2 * found["members_verified"] - 1
    assert found["privacy_loss"] > 0.95  # of examples that have nothing to do with the members
    assert found["nonmembers_verified"] > 0.95
    unreal = helpers.Published(target.x, 255 - target.x)
    assert unreal.findings(RealVsFake(mode="slide-literal"), member)["privacy_loss"] == -1  # and not cut off at 0


def test_thresholds_follow_the_mode():
    assert RealVsFake().threshold is None
    assert RealVsFake(mode="slide-literal").threshold == 0
    assert RealVsFake().needs.reference
    assert not RealVsFake(mode="slide-literal", scale="none").needs.reference


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_is_half_uniform_and_half_gaussian(dtype):
    like = np.full((400, 8, 8, 1), 51 if dtype == np.uint8 else 0.2, dtype)
    like[:, :4] *= 2
    made = noise(like, np.random.default_rng(0))
    top = 255 if dtype == np.uint8 else 1
    assert made.dtype == dtype
    assert made.shape == like.shape
    assert made[:200].std() == pytest.approx(top / 12**0.5, rel=0.02)
    assert made[200:].mean() == pytest.approx(0.3 * top, rel=0.02)
    assert made[200:].std() == pytest.approx(0.1 * top, rel=0.02)


def test_noise_of_a_table_has_each_columns_range():
    like = np.random.default_rng(0).normal([0, 1000], [1, 10], (500, 2)).astype(np.float32)
    made = noise(like, np.random.default_rng(1))
    assert (made >= like.min(axis=0)).all()
    assert (made <= like.max(axis=0)).all()
    assert (np.abs(made[250:].mean(axis=0) - like.mean(axis=0)) < [0.2, 2]).all()


def test_one_sided_truth_has_no_findings(helpers):
    target, member = helpers.published(0, copies=True)
    assert target.findings(RealVsFake(), np.zeros_like(member)) == {}
