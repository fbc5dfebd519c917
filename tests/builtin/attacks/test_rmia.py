import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean
from sklearn.metrics import roc_auc_score

from privbench.api import Needs
from privbench.builtin.attacks.confidences import log_confidence, taylor
from privbench.builtin.attacks.rmia import RMIA, log_mean, offline, share_beaten
from privbench.errors import CellFailed
from privbench.stats import intervals
from privbench.testing import parametrize_with_checks, synthetic_evidence

PAPER = {"confidence": "taylor", "temperature": 2.0, "queries": 18, "trim": 0.2, "gamma": 2.0}


@parametrize_with_checks(
    ["attack:rmia", "attack:rmia:preset=tool", "attack:rmia:preset=paper", "attack:rmia:mode=offline,gamma=2,queries=2"]
)
def test_contract(check):
    check()


class Answered:
    """Examples on which the signals of the target and of shadows are whatever a test says, under any function."""

    def __init__(self, own, shadow):
        self.own, self.shadow_logits = np.asarray(own, dtype=float), np.asarray(shadow, dtype=float)
        self.labels = np.zeros(len(self.own), dtype=np.int64)

    def signals(self, _function):
        return self.own.reshape(len(self.own), -1)

    def shadow_signals(self, _function):
        return self.shadow_logits if self.shadow_logits.ndim == 3 else self.shadow_logits[:, :, None]


class Evidence(Answered):
    """What RMIA asks of evidence."""

    def __init__(self, own, shadow, member, reference):
        super().__init__(own, shadow)
        self.shadow_member, self.reference = np.asarray(member, dtype=bool), reference


def evidence_of(p, shadow, member, *z):
    """Return evidence with confidences p (n, q), shadow (s, n, q), and of z the target's (m, q), shadows' (s, m, q)."""
    logs = [np.log(np.asarray(each, dtype=float)) for each in (p, shadow, *z)]
    return Evidence(logs[0], logs[1], member, Answered(logs[2], logs[3]))


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, [1.0, 0.25]), (2.0, [0.25, 0.25])])
def test_by_hand(gamma, expected):
    """Pr = (.675, .61) and r = (1.3333, .6557) against r(z) = (.8108, .3279, 1.3115, .7407)."""
    evidence = evidence_of([0.9, 0.4], [[0.5, 0.4]], [[0, 0]], [0.6, 0.2, 0.8, 0.5], [[0.6, 0.4, 0.4, 0.5]])
    attack = RMIA(mode="offline", a=0.3, gamma=gamma, ties="keep")
    assert attack.score(evidence).tolist() == expected
    broken = RMIA(mode="offline", a=0.3, gamma=gamma).score(evidence)
    assert broken[0] > broken[1]
    assert (np.floor(broken * 4) / 4).tolist() == expected


def test_expected_confidences_by_hand():
    np.testing.assert_allclose(np.exp(offline(np.log([0.5, 0.4]), 0.3)), [0.675, 0.61], rtol=1e-14)
    np.testing.assert_allclose(np.exp(offline(np.log([0.5, 0.4]), 0.0)), [0.75, 0.7], rtol=1e-14)
    np.testing.assert_allclose(np.exp(offline(np.log([0.5, 0.4]), 1.0)), [0.5, 0.4], rtol=1e-14)


def exact(p, shadow, member, *, z, z_shadow, online, a, gamma):
    """RMIA in rational numbers, one x and one z at a time; all confidences are lists of Fractions."""
    half = Fraction(1, 2)

    def mean(values):
        return sum(values) / len(values)

    shares = []
    for i, queries in enumerate(p):
        ratios = []
        for k, own in enumerate(queries):
            outs = [each[i][k] for j, each in enumerate(shadow) if not member[j][i]]
            ins = [each[i][k] for j, each in enumerate(shadow) if member[j][i]]
            expected = half * ((1 + a) * mean(outs) + 1 - a) if outs else own
            ratios.append(own / (half * (mean(ins) + mean(outs)) if online and ins and outs else expected))
        beaten = 0
        for m, (stranger, *_) in enumerate(z):
            r_z = stranger / (half * ((1 + a) * mean([each[m][0] for each in z_shadow]) + 1 - a))
            beaten += 2 * sum(r_x / r_z >= gamma for r_x in ratios) > len(ratios)
        shares.append(beaten / len(z))
    return shares


@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(*[st.integers(1, 8)] * 2, *[st.integers(1, 4)] * 2),
    online=st.booleans(),
    a=st.sampled_from([Fraction(0), Fraction(3, 10), Fraction(1)]),
    gamma=st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2)]),
)
def test_equals_a_slow_n_by_m_version(seed, sizes, *, online, a, gamma):
    """Few distinct confidences, so that many ratios are gamma exactly; the slow version is in rational numbers."""
    n, m, shadows, queries = sizes
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.integers(1, 5, shape)

    p, shadow, z, z_shadow = draw(n, queries), draw(shadows, n, queries), draw(m, queries), draw(shadows, m, queries)
    member = rng.random((shadows, n)) < 0.5
    member[0, 0] = False
    evidence = evidence_of(p / 4, shadow / 4, member, z / 4, z_shadow / 4)
    attack = RMIA(mode="online" if online else "offline", a=float(a), gamma=float(gamma), ties="keep")
    fractions = [[[Fraction(int(v), 4) for v in row] for row in each] for each in (p, z)]
    deep = [[[[Fraction(int(v), 4) for v in row] for row in block] for block in each] for each in (shadow, z_shadow)]
    slow = exact(fractions[0], deep[0], member, z=fractions[1], z_shadow=deep[1], online=online, a=a, gamma=gamma)
    np.testing.assert_allclose(attack.score(evidence), slow, rtol=1e-15)


def draws(seed=0, n=300, m=80, shadows=8, queries=1):
    rng = np.random.default_rng(seed)
    member = rng.random((shadows, n)) < 0.5
    level = rng.uniform(0.05, 0.9, (n, 1))
    shadow = np.where(member[:, :, None], level + 0.1, level) * rng.uniform(0.5, 1.0, (shadows, n, queries))
    p = level * rng.uniform(0.5, 1.1, (n, queries))
    z, z_shadow = rng.uniform(0.05, 0.95, (m, queries)), rng.uniform(0.05, 0.95, (shadows, m, queries))
    return p, shadow, member, z, z_shadow


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_breaking_ties_leaves_the_order_of_shares(queries):
    evidence = evidence_of(*draws(queries=queries))
    share, broken = RMIA(ties="keep").score(evidence), RMIA().score(evidence)
    step = broken - share
    assert ((step > 0) & (step < 1 / 80)).all()
    assert len(np.unique(share)) <= 81 < len(np.unique(broken))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_with_one_query_the_order_is_that_of_the_ratio(gamma):
    """What the docstring warns of: at low false-positive rates the population has no say."""
    p, shadow, member, z, z_shadow = draws()
    evidence = evidence_of(p, shadow, member, z, z_shadow)
    member[0], member[1] = True, False
    outs, ins = (np.ma.array(shadow, mask=~kind[:, :, None]).mean(axis=0).data for kind in (~member, member))
    ratio = p / ((outs + ins) / 2)
    got = RMIA(gamma=gamma).score(evidence)
    assert (np.argsort(got) == np.argsort(ratio[:, 0])).all()


def test_works_where_confidences_underflow():
    """Confidences of e^-2000 and less: their ratio is e^5, and no step leaves the logarithm."""
    own, shadow = [-2000.0, -2010.0], [[-2005.0, -2005.0]]
    reference = Answered([-3000.0, -3000.0], [[-3000.0, -3000.0]])
    evidence = Evidence(own, shadow, [[0, 0]], reference)
    attack = RMIA(mode="offline", a=1.0, ties="keep", gamma=math.e)
    assert attack.score(evidence).tolist() == [1.0, 0.0]
    assert np.isfinite(RMIA(mode="offline", a=0.3).score(evidence)).all()


def test_out_models_are_those_of_the_membership_matrix():
    """The authors' tool keeps the largest of masked confidences: it would average (.9, .1) here, or (.9, 0)."""
    values, chosen = np.log([[[0.9]], [[0.1]], [[0.2]]]), np.array([[True], [True], [True]])
    assert np.exp(log_mean(values, chosen))[0, 0] == pytest.approx(0.4)
    chosen[0] = False
    assert np.exp(log_mean(values, chosen))[0, 0] == pytest.approx(0.15)
    chosen[:] = False
    assert np.isneginf(log_mean(values, chosen)).all()


@given(seed=st.integers(0, 1000), shadows=st.integers(1, 9), trim=st.sampled_from([0.0, 0.1, 0.2, 0.4]))
def test_the_trimmed_mean_is_that_of_the_chosen_shadows(seed, shadows, trim):
    rng = np.random.default_rng(seed)
    p, chosen = rng.uniform(0.01, 1, (shadows, 6, 2)), rng.random((shadows, 6)) < 0.6
    got = np.exp(log_mean(np.log(p), chosen, trim))
    for i in range(6):
        expected = trim_mean(p[chosen[:, i], i], trim, axis=0) if chosen[:, i].any() else [0.0, 0.0]
        np.testing.assert_allclose(got[i], expected, rtol=1e-12)


def test_an_example_with_shadows_of_one_kind():
    """OUT only: the offline Pr, online too. IN only: no more than was expected."""
    shadow, member = [[0.5, 0.5], [0.5, 0.5]], [[0, 1], [0, 1]]
    z = [0.9, 1.1], [[1.0, 1.0], [1.0, 1.0]]
    evidence = evidence_of([0.675, 0.99], shadow, member, *z)
    np.testing.assert_array_equal(RMIA(ties="keep").score(evidence), [0.5, 0.5])
    within = RMIA().score(evidence)
    assert within[0] == pytest.approx(within[1]), "r = 1 both"


@pytest.mark.parametrize("p", [0.3, 1e-5])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_counting_shadows_alone_finds_nothing(gamma, p):
    """The worst population there is: every example in exactly half of all models, of which the target is one.

    That sums are over 7 or over 8 shadows must not show, not even as rounding.
    """
    rng = np.random.default_rng(0)
    member = rng.permuted(np.tile(np.arange(16) < 8, (400, 1)), axis=1).T
    target, member = member[0], member[1:]
    assert intervals.delong(-member.sum(axis=0), target)[0] == 1.0, "counting would find everything"
    evidence = evidence_of(np.full((400, 1), p), np.full((15, 400, 1), p), member, [[p]], [[[p]]] * 15)
    for mode in ("online", "offline"):
        assert intervals.delong(RMIA(gamma=gamma, mode=mode, a=1.0).score(evidence), target)[0] == 0.5


def test_no_leak_and_a_leak():
    rates = {}
    for leak in (0.0, 2.0):
        hits, of = 0, 0
        for seed in range(4):
            evidence, member = synthetic_evidence(RMIA().needs, leak=leak, examples=1000, seed=seed)
            scores = RMIA().score(evidence)
            limit = np.sort(scores[~member])[::-1][5]
            hits, of = hits + int((scores[member] >= limit).sum()), of + int(member.sum())
        rates[leak] = hits, of
    low, high = intervals.clopper_pearson(*rates[0.0], 0.999)
    assert low <= 0.012 <= high, "6 of 500 non-members are above the limit"
    assert rates[2.0][0] > 2 * rates[0.0][0]


def test_more_than_half_of_the_queries_must_win():
    own, strangers = np.log([[1.0, 3.0], [3.0, 3.0], [3.0, 1.0]]), np.log([2.0, 2.5])
    assert share_beaten(own, strangers, 1.0).tolist() == [0.0, 1.0, 0.0], "one of two is no majority"
    assert share_beaten(np.log([[1.0, 3.0, 2.2]]), strangers, 1.0).tolist() == [0.5]


def taylor_softmax(z, y, margin, order=4):
    def polynomial(x):
        return sum(x**i / math.factorial(i) for i in range(order + 1))

    others = sum(polynomial(each) for j, each in enumerate(z) if j != y)
    return polynomial(z[y] - margin) / (polynomial(z[y] - margin) + others)


def test_the_taylor_softmax():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 4, (30, 2, 5)).astype(np.float32), rng.integers(0, 5, 30)
    got = np.exp(log_confidence("taylor", 2.0, 4, 0.6)(logits, labels))
    slow = [[taylor_softmax(z.astype(float) / 2, y, 0.6) for z in x] for x, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(got, slow, rtol=1e-9)
    x = np.linspace(-50, 50, 2001)
    for order in (2, 4, 6, 8):
        assert (taylor(x, order) > 0).all()
    assert (taylor(x, 3) < 0).any(), "of an odd order the values are no probabilities"
    plain = np.exp(log_confidence("softmax", 2.0, 4, 0.6)(logits, labels))
    near = np.exp(log_confidence("taylor", 2.0, 8, 0.0)(logits / 8, labels))
    np.testing.assert_allclose(near, np.exp(log_confidence("softmax", 16.0, 4, 0.0)(logits, labels)), rtol=1e-4)
    z = logits.astype(float) / 2
    own = np.take_along_axis(z, labels[:, None, None], axis=-1)[..., 0]
    np.testing.assert_allclose(plain, np.exp(own) / np.exp(z).sum(axis=-1), rtol=1e-9)
    assert log_confidence("softmax", 1.0, 4, 0.6) is log_confidence("softmax", 1.0, 4, 0.6), "signals are kept"


def paired(seed, level, inside, pairs=4, n=400):
    """Return confidences of pairs of models with complementary halves: `level` OUT, `inside` IN, with noise."""
    rng = np.random.default_rng(seed)
    member = np.empty((2 * pairs, n), dtype=bool)
    for pair in range(pairs):
        member[2 * pair] = rng.permutation(n) < n // 2
        member[2 * pair + 1] = ~member[2 * pair]
    p = np.clip(np.where(member, inside, level) * rng.uniform(0.9, 1.1, member.shape), 0.001, 1.0)
    return p, member


def test_tuning_finds_how_in_goes_with_out():
    """Where members always have confidence 1, a is 0; it is what a poser's own AUC says, its partner left out."""
    level = np.random.default_rng(1).uniform(0.1, 0.9, 400)
    p, member = paired(0, level, np.maximum(level, 0.97))
    evidence = evidence_of(p[0], p[2:], member[2:], [0.5, 0.6], np.full((6, 2), 0.5))
    attack = RMIA(mode="offline", a="tune")
    aucs = np.zeros(11)
    for poser in range(2, 8):
        others = [j for j in range(2, 8) if j // 2 != poser // 2]
        outside = np.ma.array(p[others], mask=member[others]).mean(axis=0).filled(np.nan)
        for at, a in enumerate(np.linspace(0, 1, 11)):
            ratio = np.nan_to_num(p[poser] / (((1 + a) * outside + 1 - a) / 2), nan=1.0)
            aucs[at] += roc_auc_score(member[poser], ratio)
    chosen = attack.findings(evidence, None)["a"]
    assert chosen == pytest.approx(aucs.round(9).argmax() / 10)
    assert chosen < 0.3
    assert (chosen.least, chosen.most) == (0, 1), "the interval of its mean over targets does not leave these"
    few = evidence_of(p[0], p[2:4], member[2:4], [0.5, 0.6], np.full((2, 2), 0.5))
    assert attack.findings(few, None)["a"] == 0.3, "one pair of shadows has nobody to pose for"


def test_findings_say_what_the_share_is_worth():
    p, member = paired(0, 0.3, 0.8)
    evidence = evidence_of(p[0], p[2:], member[2:], [0.5, 0.6], np.full((6, 2), 0.5))
    share = RMIA(ties="keep").score(evidence)
    scores = RMIA().score(evidence)
    found = RMIA().judged(RMIA().findings(evidence, scores), scores, member[0])
    assert found == {"auc_of_share": pytest.approx(roc_auc_score(member[0], share)), "z": 2.0}


def test_says_what_it_needs():
    z = [[0.5]], [[[0.5]]]
    with pytest.raises(CellFailed, match="trained without an example"):
        RMIA().score(evidence_of([[0.5]], [[[0.5]]], [[1]], *z))
    with pytest.raises(CellFailed, match="reference examples"):
        RMIA().score(evidence_of([[0.5]], [[[0.5]]], [[0]], np.empty((0, 1)), np.empty((1, 0, 1))))
    assert RMIA(**PAPER).needs == Needs(queries=18, shadows="adaptive", reference=True)
