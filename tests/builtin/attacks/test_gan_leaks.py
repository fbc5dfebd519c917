from dataclasses import replace

import numpy as np
import pytest

from privbench.api import Needs
from privbench.builtin.attacks.gan_leaks import GanLeaks
from privbench.errors import CellFailed
from privbench.testing import parametrize_with_checks


@parametrize_with_checks(["attack:gan-leaks", "gan-leaks:calibrated=true", "gan-leaks:features=pca,by_class=true"])
def test_contract(check):
    check()


def test_the_score_is_minus_the_distance_in_pixels_from_minus_one_to_one(helpers):
    x = np.array([[0, 0], [255, 51]], dtype=np.uint8).reshape(2, 1, 2, 1)  # (-1, -1), (1, -0.6)
    synthetic = np.array([[255, 0], [51, 51]], dtype=np.uint8).reshape(2, 1, 2, 1)  # (1, -1), (-0.6, -0.6)
    scores = helpers.Published(x, synthetic).score(GanLeaks())
    np.testing.assert_allclose(scores, [-np.hypot(0.4, 0.4), -0.4], rtol=1e-6)


def test_calibrated_it_is_less_by_the_mean_distance_of_shadows_trained_without_the_example(helpers):
    x = np.array([[0.0], [10.0], [20.0]], np.float32)
    shadows = [np.array([[1.0]], np.float32), np.array([[4.0]], np.float32), np.array([[18.0]], np.float32)]
    member = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1]], bool)
    target = helpers.Published(x, np.array([[2.0]], np.float32), shadows=shadows, shadow_member=member)
    # distances to the target's: 2, 8, 18; to the shadows without: (1 + 4) / 2, (9 + 8) / 2, of none
    np.testing.assert_allclose(target.score(GanLeaks(calibrated=True, scale="none")), [2.5 - 2, 8.5 - 8, 0], rtol=1e-12)
    np.testing.assert_allclose(target.score(GanLeaks(scale="none")), [-2, -8, -18], rtol=1e-12)


def test_by_class_only_the_own_label_counts_where_there_is_any(helpers):
    x = np.array([[0.0], [0.0], [0.0]], np.float32)
    synthetic = np.array([[1.0], [5.0]], np.float32)
    target = helpers.Published(x, synthetic, y=[0, 1, 2], synthetic_y=[0, 1])
    np.testing.assert_allclose(target.score(GanLeaks(by_class=True, scale="none")), [-1, -5, -1])
    np.testing.assert_allclose(target.score(GanLeaks(scale="none")), [-1, -1, -1])


def test_calibration_helps_where_examples_differ_in_how_typical_they_are(helpers):
    """Rare examples lie far from any generator's, members or not: that hides who is one from the plain attack."""
    rng = np.random.default_rng(0)
    n, models, width = 400, 8, 10
    spread = rng.lognormal(0, 1, (n, 1))
    x = (spread * rng.normal(size=(n, width))).astype(np.float32)
    member = helpers.pairs(n, models, rng)
    made = [(x[own] + 0.5 * spread[own] * rng.normal(size=(own.sum(), width))).astype(np.float32) for own in member]
    target = helpers.Published(x, made[0], shadows=made[2:], shadow_member=member[2:])
    plain, calibrated = (helpers.auc(target.score(GanLeaks(calibrated=c)), member[0]) for c in (False, True))
    assert plain < 0.75
    assert calibrated > plain + 0.1


@pytest.mark.parametrize("copies", [True, False])
def test_calibrated_it_finds_copies_and_nothing_in_fresh_examples(copies, helpers):
    found = []
    for seed in range(8):
        target, member = helpers.published(seed, copies=copies)
        rng = np.random.default_rng(100 + seed)
        shadows = [helpers.blobs(100, rng) for _ in range(4)]
        kept = helpers.pairs(len(member), 4, rng)
        full = helpers.Published(target.x, target.synthetic.x, shadows=shadows, shadow_member=kept)
        found.append(helpers.auc(full.score(GanLeaks(calibrated=True)), member))
    if copies:
        assert min(found) > 0.92  # less than plain: what is common loses its distance to shadows' examples too
    else:
        assert abs(np.mean(found) - 0.5) < 3 * 0.041 / 8**0.5  # one AUC of 100 against 101: SE 0.041


def test_calibrated_it_needs_shadows_that_publish(helpers):
    needs = Needs(answers="none", shadows="adaptive", examples=True, synthetic=True)
    assert GanLeaks(calibrated=True, scale="none").needs == needs
    assert GanLeaks(calibrated=True).needs == replace(needs, reference=True)
    target, _ = helpers.published(0, copies=True)
    with pytest.raises(CellFailed, match="needs shadow models"):
        target.score(GanLeaks(calibrated=True))
    silent = helpers.Published(target.x, target.x, shadows=[None], shadow_member=np.zeros((1, len(target.x)), bool))
    with pytest.raises(CellFailed, match="publishes none"):
        silent.score(GanLeaks(calibrated=True))
