import numpy as np
import pytest
from privbench_attacks.quantile import Features, Quantile, margin
from privbench_attacks.regression import LEVELS, Gaussian, Pinball, Z, cross_fitted
from scipy.stats import norm

from privbench.errors import CellFailed
from privbench.stats import intervals
from privbench.testing import parametrize_with_checks, synthetic_evidence

heads = pytest.mark.parametrize("head", [Gaussian, Pinball])


@parametrize_with_checks(["attack:quantile", "attack:quantile:fpr=0.1", "attack:quantile:head=pinball,components=3"])
def test_contract(check):
    check()


def draws(seed, n, features=3, *, skewed=False):
    """Return features and margins h = 1 + 2 x_0 + e^{x_1 / 2} t of non-members, and t: normal, or skewed left."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, features)), rng.normal(size=n)
    t = -rng.exponential(size=n) if skewed else t
    return x, 1 + 2 * x[:, 0] + np.exp(x[:, 1] / 2) * t, t


def near(count, of, references, level):
    """Whether a rate is within the interval, when so many references too leave it uncertain."""
    effective = 1 / (1 / of + 1 / references)
    low, high = intervals.clopper_pearson(count / of * effective, effective)
    return low <= level <= high


@heads
@pytest.mark.parametrize("skewed", [False, True])
def test_non_members_exceed_a_quantile_as_often_as_it_says(head, skewed):
    """On examples that had no part in it, over several sets of 153 references; sorting widens outermost quantiles."""
    levels = (0.05, 0.2, 0.5) if head is Pinball else (0.02, 0.05, 0.2, 0.5)
    flagged = np.zeros(len(levels))
    for seed in range(6):
        x, h, _ = draws(seed, 153 + 1000, skewed=skewed)
        scores = cross_fitted(head, x[:153], h[:153], np.random.default_rng(seed)).score(x[153:], h[153:])
        flagged += [(scores > norm.isf(level)).sum() for level in levels]
    for count, level in zip(flagged, levels, strict=True):
        assert near(count, 6 * 1000, 6 * 153, level), f"{count / 6000:.3f} exceed the quantile of {level}"


@heads
def test_finds_the_quantiles_that_there_are(head):
    x, h, truth = draws(0, 1600)
    got = cross_fitted(head, x[:800], h[:800], np.random.default_rng(0)).score(x[800:], h[800:])
    inner = (truth[800:] > Z.min()) & (truth[800:] < 1.5)  # what lies below the least quantile is not modelled
    assert np.corrcoef(got[inner], truth[800:][inner])[0, 1] > 0.95
    assert np.abs(got - truth[800:])[inner].mean() < 0.2


@pytest.mark.parametrize("m", [20, 153])
def test_of_constant_features_a_quantile_is_the_sample_quantile(m):
    rng = np.random.default_rng(0)
    h = rng.exponential(size=m)
    constant = Features(np.full((m, 4), 7.0), np.zeros(m, dtype=int), 2, 16, 0)(np.full((m, 4), 7.0), np.zeros(m, int))
    assert constant.shape == (m, 0)
    fitted = cross_fitted(Pinball, constant, h, rng)
    got = fitted.regression.quantiles(constant[:1])[0] * fitted.scale + fitted.shift
    expected = [np.sort(h)[int(np.ceil(round((1 - a) * m, 9))) - 1] for a in LEVELS]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_no_quantile_crosses_another():
    x, h, _ = draws(0, 60, features=8)
    quantiles = cross_fitted(Pinball, x, h, np.random.default_rng(0)).regression.quantiles(10 * draws(1, 500, 8)[0])
    assert (np.diff(quantiles, axis=1) <= 0).all(), "they fall as the level rises"


def test_intercepts_have_the_least_pinball_loss():
    """Moving any of them, slopes being what they are, costs more."""
    x, h, _ = draws(0, 100)
    fitted = Pinball(x, h, 10.0)
    fitted.settle(fitted.raw(x, h))
    best = fitted.loss(x, h)
    for shift in (-0.1, 0.1):
        fitted.settle(fitted.raw(x, h) + shift)
        assert fitted.loss(x, h) > best


@heads
def test_scores_rise_with_the_margin(head):
    x, h, _ = draws(0, 200)
    fitted = cross_fitted(head, x, h, np.random.default_rng(0))
    rising = np.stack([fitted.score(x, h + shift) for shift in np.linspace(-30, 30, 200)])
    assert (np.diff(rising, axis=0) > 0).mean() > 0.9
    assert (np.diff(rising, axis=0) >= 0).all()
    assert (rising[-1] > Z.max()).all()
    assert (rising[0] < Z.min()).all()


def test_a_gaussian_is_the_likeliest():
    """With nothing to depend on: the mean, and the deviation of the maximum likelihood."""
    h = np.random.default_rng(0).normal(size=50)
    fitted = Gaussian(np.empty((50, 0)), h, 1.0)
    np.testing.assert_allclose(fitted.raw(np.empty((50, 0)), h), (h - h.mean()) / h.std(), atol=2e-3)


@heads
def test_values_that_are_all_equal(head):
    x = draws(0, 50)[0]
    fitted = cross_fitted(head, x, np.full(50, 3.0), np.random.default_rng(0))
    scores = fitted.score(x, np.full(50, 3.0))
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < Z.max()


def test_margin_by_hand():
    logits = np.array([[[3.0, 1.0, 2.5]], [[3.0, 1.0, 2.5]]], dtype=np.float32)
    assert margin(logits, np.array([0, 1])).tolist() == [[0.5], [-2.0]]


def test_features_are_fitted_on_the_reference_alone():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (40, 5, 5, 1), dtype=np.uint8), np.arange(40) % 3
    images[:, 0] = 0  # pixels that never vary
    fitted = Features(images, y, 4, 6, 0)
    seen = fitted(images, y)
    assert seen.shape == (40, 6 + 3), "class 3 has no example"
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(seen[:, :6].std(axis=0, ddof=1), 1)
    np.testing.assert_allclose(fitted(images[:7], y[:7]), seen[:7], rtol=0, atol=1e-12)  # BLAS sums 7 rows its own way
    assert Features(images, y, 4, 0, 0)(images, y).shape == (40, 3)


@pytest.mark.parametrize("head", ["gaussian", "pinball"])
def test_its_threshold_keeps_the_rate_and_finds_members(head):
    attack = Quantile(head=head, fpr=0.05)
    evidence, member = synthetic_evidence(attack.needs, leak=4.0, examples=1000)
    scores = attack.score(evidence)
    said = scores >= attack.threshold
    assert near(said[~member].sum(), 500, 500, 0.05)
    assert said[member].mean() > 4 * said[~member].mean()
    found = attack.judged(attack.findings(evidence, scores), scores, member)
    assert found["fpr_at_level_0.05"] == pytest.approx(said[~member].mean())


def test_says_what_it_needs():
    evidence, _ = synthetic_evidence(Quantile.needs, leak=1.0, examples=30)
    with pytest.raises(CellFailed, match="needs 20 reference examples; the task keeps 15"):
        Quantile().score(evidence)
