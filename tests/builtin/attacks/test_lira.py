import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privbench.api import Needs
from privbench.builtin.attacks import gaussians
from privbench.builtin.attacks.lira import LiRA
from privbench.errors import BadOption, CellFailed, UndeclaredEvidence
from privbench.options.fields import build

VARIANTS = [
    LiRA(mode=mode, variance=variance, center=center)
    for mode in ("online", "offline")
    for variance in ("auto", "example", "global", "pooled")
    for center in ("mean", "median")
]
each_variant = pytest.mark.parametrize("attack", VARIANTS, ids=lambda a: f"{a.mode}-{a.variance}-{a.center}")


def naive(phi, shadow, member, attack):
    """LiRA as one would write it first: a loop over examples and queries, no shared arithmetic."""
    center = {"mean": np.mean, "median": np.median}[attack.center]
    n, queries = phi.shape
    scores = np.zeros(n)
    for a in range(queries):
        variance, pooled, raw = naive_variances(shadow[:, :, a], member)
        if attack.variance == "global":
            each = [naive_variances(shadow[:, :, b], member)[1:] for b in range(queries)]
            scale = sum(sum(p.values()) for p, _ in each) / sum(sum(r.values()) for _, r in each)
            variance = {side: np.full(n, raw[side] * (scale if attack.mode == "online" else 1)) for side in raw}
        if attack.variance == "pooled":
            variance = {side: np.full(n, pooled[side]) for side in pooled}
        sd = {side: np.sqrt(each) for side, each in variance.items()}
        for i in range(n):
            inside, outside = (center(shadow[member[:, i] == side, i, a]) for side in (True, False))
            if attack.mode == "offline":
                scores[i] += (phi[i, a] - outside) / sd[False][i] / queries
            else:
                scores[i] += norm.logpdf(phi[i, a], inside, sd[True][i])
                scores[i] -= norm.logpdf(phi[i, a], outside, sd[False][i])
    return scores


def naive_variances(shadow, member):
    """Return, by side, each example's variance; that about the examples' means; and that of all raw scores."""
    own, pooled, raw = {}, {}, {}
    for side in (True, False):
        sides = [shadow[member[:, i] == side, i] for i in range(shadow.shape[1])]
        own[side] = np.array([np.var(x, ddof=1) for x in sides])
        freedom = np.array([len(x) - 1 for x in sides])
        pooled[side] = (own[side] * freedom).sum() / freedom.sum()
        raw[side] = np.var(np.concatenate(sides), ddof=1)
    return own, pooled, raw


def draws(seed, n=60, shadows=10, queries=3, examples_differ=3.0):
    """Return phi of a target (n, q) and of shadows (s, n, q), and memberships; IN and OUT spread differently."""
    rng = np.random.default_rng(seed)
    member = rng.permuted(np.tile(np.arange(shadows + 1) % 2 == 0, (n, 1)), axis=1).T
    level = rng.normal(0, examples_differ, (n, queries))
    noise = rng.normal(0, 1, (shadows + 1, n, queries))
    phi = level + np.where(member[:, :, None], 2 + noise, 3 * noise)
    return phi[0].astype(np.float32), phi[1:].astype(np.float32), member[1:], member[0]


@pytest.mark.parametrize("attack", [v for v in VARIANTS if v.variance != "auto"], ids=repr)
@pytest.mark.parametrize("queries", [1, 3])
def test_equals_a_naive_loop(attack, queries, helpers, monkeypatch):
    monkeypatch.setattr(gaussians, "BLOCK", 100)  # several blocks
    phi, shadow, member, _ = draws(0, queries=queries)
    got = helpers.Answering.with_phi(phi, shadow, member).score(attack)
    np.testing.assert_allclose(got, naive(phi.astype(float), shadow.astype(float), member, attack), rtol=1e-9)


def test_a_fixed_variance_of_out_comes_from_out_scores(helpers):
    """The authors' code takes it from the IN scores; where the two differ, so must the scores."""
    phi, shadow, member, _ = draws(1, queries=1)
    got = helpers.Answering.with_phi(phi, shadow, member).score(LiRA(mode="offline", variance="global"))
    outside = np.array([shadow[~member[:, i], i, 0].mean() for i in range(len(phi))])
    quirk = (phi[:, 0] - outside) / shadow[member].std()
    right = (phi[:, 0] - outside) / shadow[~member].std(ddof=1)
    np.testing.assert_allclose(got, right, rtol=1e-5)
    assert not np.allclose(got, quirk, rtol=0.05)


def test_offline_is_one_sided(helpers):
    """More confidence is never less suspicious, and far out there are no ties."""
    phi, shadow, member, _ = draws(2, n=50, queries=1)
    phi[:] = np.linspace(-100, 1000, 50)[:, None]
    shadow[:], member[:] = shadow[:, :1], member[:, :1]
    scores = helpers.Answering.with_phi(phi, shadow, member).score(LiRA(mode="offline"))
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize(
    ("mu", "auc", "tprs", "accuracy"),
    [(2, 0.92135, {0.001: 0.13781, 0.01: 0.37208}, 0.84134), (1, 0.76025, {0.001: 0.01830, 0.01: 0.09236}, 0.69146)],
)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_gaussians_give_the_closed_form(mu, auc, tprs, accuracy, *, mode, helpers):
    rng = np.random.default_rng(mu)
    n, shadows = 10_000, 512  # so many that the error of the fitted means no longer shows
    member = np.zeros((shadows, n), dtype=bool)
    member[::2] = True
    shadow = rng.standard_normal((shadows, n), dtype=np.float32) + np.float32(mu) * member
    truth = np.arange(n) < n // 2
    phi = rng.standard_normal(n) + mu * truth
    scores = helpers.Answering.with_phi(phi, shadow, member).score(LiRA(mode=mode, variance="pooled"))

    def within(rate, spread=1.0):
        return pytest.approx(rate, abs=3 * spread * np.sqrt(rate * (1 - rate) / (n / 2)))

    assert helpers.auc(scores, truth) == within(auc)
    # The threshold is estimated too: its error at FPR a moves the TPR by the ROC's slope there.
    for fpr, tpr in tprs.items():
        slope = norm.pdf(norm.isf(fpr) - mu) / norm.pdf(norm.isf(fpr))
        error = np.sqrt((tpr * (1 - tpr) + slope**2 * fpr * (1 - fpr)) / (n / 2))
        assert helpers.tpr_at(scores, truth, fpr) == pytest.approx(tpr, abs=3 * error)
    if mode == "online":
        called = scores >= LiRA().threshold
        assert ((called[truth].mean() + 1 - called[~truth].mean()) / 2) == within(accuracy)


def hard_and_easy(seed, *, n=3000, shadows=14, inside=0.5, queries=1, compress=False):
    """Return a target's evidence and membership: OUT scores spread wider between examples, IN or OUT is rare."""
    rng = np.random.default_rng(seed)
    member = rng.random((shadows + 1, n)) < inside
    member[1] &= member.sum(axis=0) < shadows  # no example with shadows of one kind only
    member[0] = rng.permutation(n) < n // 2
    hard = rng.normal(5, 3, (n, 1))
    gain = 0.3 * (9 - hard) if compress else np.where(hard < 3, 1.5, 0.5)
    phi = hard + gain * member[:, :, None] + rng.normal(size=(shadows + 1, n, queries))
    kinds = member[1:].any(axis=0) & ~member[1:].all(axis=0)
    return phi[0, kinds], phi[1:, kinds], member[1:, kinds], member[0, kinds]


SETTINGS = {
    "halves": {},
    "compressed": {"compress": True},
    "few": {"shadows": 6},
    "many": {"shadows": 62},
    "queries": {"queries": 3},
    "few of one example IN": {"inside": 0.15},
    "few of one example OUT": {"inside": 0.85},
    "hardly any IN": {"inside": 0.03, "shadows": 30},
    "two": {"shadows": 2},
}


def balanced_accuracy(called, member):
    return (called[member].mean() + 1 - called[~member].mean()) / 2


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "attack",
    [v for v in VARIANTS if v.mode == "online"],
    ids=lambda a: f"{a.variance}-{a.center}",
)
def test_its_own_threshold_is_near_the_best_in_hindsight(attack, setting, helpers):
    """Equal variances within examples, so that 0 is the true likelihood ratio's own line; 3 points are for the fit."""
    *given, member = hard_and_easy(0, **SETTINGS[setting])
    scores = helpers.Answering.with_phi(*given).score(attack)
    best = max(balanced_accuracy(scores >= at, member) for at in np.quantile(scores, np.linspace(0, 1, 200)))
    assert balanced_accuracy(scores >= attack.threshold, member) > best - 0.03


@pytest.mark.parametrize("variance", ["global", "auto"])
@pytest.mark.parametrize("queries", [1, 3])
def test_scaling_a_global_variance_leaves_the_order_of_scores(variance, queries, helpers):
    """The threshold was off by a constant; what ranks is as it was."""
    phi, shadow, member, _ = hard_and_easy(1, n=500, queries=queries)
    phi, shadow = (each * np.arange(1, queries + 1) for each in (phi, shadow))
    scores = helpers.Answering.with_phi(phi, shadow, member).score(LiRA(variance=variance))
    plain = np.zeros(len(phi))
    for side, sign in ((True, 1), (False, -1)):
        mean = np.ma.array(shadow, mask=np.broadcast_to((member != side)[:, :, None], shadow.shape)).mean(axis=0).data
        plain += sign * norm.logpdf(phi, mean, shadow[member == side].std(axis=0, ddof=1)).sum(axis=1)
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(plain))


@each_variant
def test_without_leakage_it_finds_nothing(attack, helpers):
    n = 4_000
    answers, member = helpers.population(3, n=n, models=12, leak=0.0)
    assert helpers.auc(answers.score(attack), member) == pytest.approx(0.5, abs=3 * np.sqrt(1 / (3 * n)))


@each_variant
def test_finds_a_leak(attack, helpers):
    answers, member = helpers.population(4, models=66)
    assert helpers.auc(answers.score(attack), member) > 0.8


@each_variant
def test_order_of_examples_and_shadows(attack, helpers, monkeypatch):
    monkeypatch.setattr(gaussians, "BLOCK", 1000)
    answers, _ = helpers.population(5, queries=2, models=8)
    rng = np.random.default_rng(0)
    scores, order = answers.score(attack), rng.permutation(300)
    np.testing.assert_array_equal(answers[order].score(attack), scores[order])
    shuffled = rng.permutation(len(answers.shadows))
    answers.shadows, answers.shadow_member = answers.shadows[shuffled], answers.shadow_member[shuffled]
    np.testing.assert_allclose(answers.score(attack), scores, rtol=1e-9, atol=1e-9)


def test_renaming_the_classes_changes_nothing(helpers):
    answers, _ = helpers.population(6)
    names = np.random.default_rng(0).permutation(5)
    renamed = helpers.Answering(
        names[answers.labels],
        answers.logits[..., np.argsort(names)],
        answers.shadows[..., np.argsort(names)],
        answers.shadow_member,
    )
    np.testing.assert_allclose(renamed.score(LiRA()), answers.score(LiRA()), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99), n=st.integers(1, 8), shadows=st.integers(2, 7))
def test_few_and_odd_shadows_give_finite_scores_or_a_reason(data, seed, n, shadows, helpers):
    rng = np.random.default_rng(seed)
    scale = data.draw(st.sampled_from([0.0, 1e-9, 1.0, 1e4]))
    attack = data.draw(st.sampled_from(VARIANTS))
    member = rng.random((shadows, n)) < data.draw(st.sampled_from([0.1, 0.5, 0.9]))
    answers = helpers.Answering.with_phi(rng.normal(0, scale, n), rng.normal(0, scale, (shadows, n)), member)
    outside, inside = (~member).any(axis=0), member.any(axis=0)
    known = outside & (inside | (attack.mode == "offline"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if not known.any():
            with pytest.raises(CellFailed, match="no example has them"):
                answers.score(attack)
            return
        scores = answers.score(attack)
    assert np.isfinite(scores).all()
    assert (scores[~known] == 0).all()


@pytest.mark.parametrize("variance", ["auto", "example", "pooled"])
def test_a_single_shadow_on_each_side_takes_the_global_variance(variance, helpers):
    phi, shadow, _, _ = draws(7, shadows=2, queries=1)
    member = np.zeros((2, len(phi)), dtype=bool)
    member[0, ::2], member[1, 1::2] = True, True
    answers = helpers.Answering.with_phi(phi, shadow, member)
    np.testing.assert_array_equal(answers.score(LiRA(variance=variance)), answers.score(LiRA(variance="global")))


def test_auto_takes_each_examples_own_variance_from_64_models_on(helpers):
    few, many = helpers.population(8, models=32)[0], helpers.population(8, models=64)[0]
    np.testing.assert_array_equal(few.score(LiRA()), few.score(LiRA(variance="global")))
    np.testing.assert_array_equal(many.score(LiRA()), many.score(LiRA(variance="example")))


def test_needs_and_threshold_follow_the_options():
    assert LiRA().needs == Needs(queries="task", shadows="adaptive")
    assert build(LiRA, {"queries": "18", "shadows": "undefended"}).needs == Needs(queries=18, shadows="undefended")
    assert (LiRA().threshold, LiRA(mode="offline").threshold) == (0.0, None)
    with pytest.raises(BadOption, match="'queries'"):
        build(LiRA, {"queries": "3"})


@pytest.mark.parametrize(
    ("mode", "member", "way_out"),
    [
        ("online", 0, "; mode=offline takes those without it alone."),
        ("online", 1, "has them."),
        ("offline", 1, "them."),
    ],
)
def test_shadows_of_one_kind_are_a_reason_and_name_the_way_out(mode, member, way_out, helpers):
    phi, shadow, kinds, _ = draws(12)
    answers = helpers.Answering.with_phi(phi, shadow, np.full_like(kinds, member))
    with pytest.raises(CellFailed) as raised:
        answers.score(LiRA(mode=mode))
    assert str(raised.value).endswith(way_out)
    if "offline" in way_out:
        assert np.isfinite(answers.score(LiRA(mode="offline"))).all()


def test_no_shadows_is_a_reason(helpers):
    answers, _ = helpers.population(9)
    with pytest.raises(CellFailed, match="needs shadow models"):
        helpers.Answering(answers.labels, answers.logits).score(LiRA())


def test_undeclared_evidence_raises(helpers):
    answers, _ = helpers.population(10)
    for needs in (Needs(), Needs(answers="labels", shadows="adaptive")):
        with pytest.raises(UndeclaredEvidence):
            LiRA().score(answers.evidence(needs))


def test_one_harmful_example_does_not_disturb_the_others_own_variance(helpers):
    answers, _ = helpers.population(11, models=66)
    before = answers.score(LiRA())
    answers.shadows[:, 0] *= 1000
    np.testing.assert_array_equal(answers.score(LiRA())[1:], before[1:])
