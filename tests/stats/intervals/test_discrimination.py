import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privbench.stats import intervals

LAW = settings(deadline=None, derandomize=True, max_examples=60)


def population(generator, targets, n):
    """Complementary random halves, as the harness draws them."""
    member = np.empty((targets, n), dtype=bool)
    for pair in range(targets // 2):
        half = np.isin(np.arange(n), generator.permutation(n)[: n // 2])
        member[2 * pair], member[2 * pair + 1] = half, ~half
    return member


@st.composite
def observed(draw):
    """Scores with many ties, and a truth with both sides."""
    targets, n = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    size = targets * n
    scores = draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))
    member = draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(lambda b: any(b) and not all(b)))
    return np.array(scores, dtype=float).reshape(targets, n), np.array(member).reshape(targets, n)


def slow_auc(scores, member):
    inside, outside = scores[member][:, None], scores[~member][None]
    return ((inside > outside) + 0.5 * (inside == outside)).mean()


def slow_error(scores, member):
    """Obuchowski's (1997) S10, S01 and S11, one cluster after another."""
    area, clusters = slow_auc(scores, member), scores.shape[1]
    inside, outside = scores[member], scores[~member]
    s10 = s01 = s11 = 0.0
    for example in range(clusters):
        mine = scores[:, example]
        v10 = sum(((s > outside) + 0.5 * (s == outside)).mean() - area for s in mine[member[:, example]])
        v01 = sum(((s < inside) + 0.5 * (s == inside)).mean() - area for s in mine[~member[:, example]])
        s10, s01, s11 = s10 + v10**2, s01 + v01**2, s11 + v10 * v01
    i10, i01 = member.any(axis=0).sum(), (~member).any(axis=0).sum()
    m, n = len(inside), len(outside)
    return math.sqrt(
        max(
            0, i10 / (i10 - 1) * s10 / m**2 + i01 / (i01 - 1) * s01 / n**2 + 2 * clusters / (clusters - 1) * s11 / m / n
        )
    )


def test_delong_gives_the_values_of_methods():
    scores, member = np.array([0.9, 0.8, 0.4, 0.7, 0.3, 0.2, 0.1]), np.arange(7) < 3
    assert intervals.delong(scores, member) == pytest.approx((0.916667, 0.117851), abs=1e-6)


@pytest.mark.parametrize("truth", [[True] * 3, [False] * 3])
def test_delong_without_both_sides_is_nan(truth):
    assert all(map(math.isnan, intervals.delong(np.arange(3.0), np.array(truth))))


def test_delong_with_one_member_has_no_error():
    value, error = intervals.delong(np.arange(3.0), np.array([False, True, False]))
    assert value == 0.5
    assert math.isnan(error)


@LAW
@given(observed())
def test_auc_equals_the_slow_one_and_lies_in_its_interval(case):
    scores, member = case
    found = intervals.auc(scores, member)
    assert found.value == pytest.approx(slow_auc(scores, member), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.n == scores.size


@LAW
@given(observed())
def test_auc_error_is_obuchowskis(case):
    scores, member = case
    if min(member.any(axis=0).sum(), (~member).any(axis=0).sum()) < 2:
        return
    found, half = intervals.auc(scores, member), 1.959964 * slow_error(scores, member)
    if 0 < found.value < 1 and scores.min() < scores.max():  # else the error says nothing
        assert found.low == pytest.approx(max(0, found.value - half), abs=1e-6)
        assert found.high == pytest.approx(min(1, found.value + half), abs=1e-6)


@LAW
@given(observed())
def test_one_target_is_plain_delong(case):
    scores, member = case[0][:1], case[1][:1]
    value, error = intervals.delong(scores[0], member[0])
    found = intervals.auc(scores, member)
    if math.isnan(value):
        assert found.value is None
    elif error > 0 and value not in (0, 1):
        assert found.high == pytest.approx(min(1, value + 1.959964 * error), abs=1e-6)


@LAW
@given(observed(), st.randoms(use_true_random=False))
def test_auc_keeps_under_monotone_transforms_and_permutations(case, random):
    scores, member = case
    found = intervals.auc(scores, member)
    assert intervals.auc(np.exp(scores) - 7, member) == found
    columns = random.sample(range(scores.shape[1]), scores.shape[1])
    rows = random.sample(range(scores.shape[0]), scores.shape[0])
    moved = intervals.auc(scores[rows][:, columns], member[rows][:, columns])
    assert moved.value == found.value
    assert (moved.low, moved.high) == pytest.approx((found.low, found.high), abs=1e-7)


@LAW
@given(observed())
def test_balanced_accuracy_is_the_auc_of_decisions(case):
    scores, member = case
    decisions = scores >= 1
    ours, theirs = intervals.balanced_accuracy(decisions, member), intervals.auc(decisions.astype(float), member)
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high), abs=1e-7)


def test_averaged_balanced_accuracy_is_the_mean_over_targets():
    generator = np.random.default_rng(3)
    member = generator.random((5, 40)) < np.array([[0.1], [0.3], [0.5], [0.9], [1.0]])
    decisions = generator.random((5, 40)) < 0.3 + 0.4 * member
    each = [intervals.balanced_accuracy(d[None], b[None]).value for d, b in zip(decisions[:4], member[:4], strict=True)]
    found = intervals.balanced_accuracy(decisions, member, averaged=True)
    assert found.value == pytest.approx(np.mean(each), abs=1e-8)
    assert found.n == 160  # the target with members only has no say


def test_perfect_separation_of_few_is_no_certainty():
    member = np.arange(10)[None] < 5
    perfect, inverse = (intervals.auc(sign * member.astype(float), member) for sign in (1, -1))
    assert perfect.value == 1
    assert perfect.low == pytest.approx(0.025 ** (1 / 5))
    assert (inverse.value, inverse.high) == (0, pytest.approx(1 - 0.025 ** (1 / 5)))
    constant = intervals.auc(np.zeros((1, 10)), member)
    assert constant.value == 0.5
    assert constant.high - 0.5 == pytest.approx((1 - 0.025 ** (1 / 5)) / 2)


def test_scores_of_the_example_alone_have_auc_half_for_certain():
    """Every example is in exactly half of the models, so no choice of examples moves it."""
    generator = np.random.default_rng(0)
    member = population(generator, 4, 50)
    found = intervals.auc(np.broadcast_to(generator.normal(size=50), (4, 50)), member)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5), abs=1e-8)


@pytest.mark.parametrize("fill", [True, False])
def test_one_side_only_is_not_available(fill):
    member = np.full((2, 5), fill)
    for found in (
        intervals.auc(np.zeros((2, 5)), member),
        intervals.balanced_accuracy(member, member),
        intervals.balanced_accuracy(member, member, averaged=True),
    ):
        assert found.value is found.low is found.high is None
        assert found.note == ("no non-members" if fill else "no members")


def test_an_average_needs_a_target_with_both_sides():
    member = np.array([[True, True], [False, False]])
    found = intervals.balanced_accuracy(member, member, averaged=True)
    assert (found.value, found.note) == (None, "no target has both members and non-members")


def test_a_single_member_tells_nothing_of_others():
    found = intervals.auc(np.arange(5.0)[None], np.arange(5)[None] == 4)
    assert (found.value, found.low, found.high) == (1, 0, 1)
    assert found.note == "one member only: nothing is known of others"


def test_clustered_intervals_cover_where_those_for_independent_scores_do_not():
    """Examples differ in how much they leak: s = b (mu + 2 d_e) + g_e + noise. 300 populations, 3 SE around 95 %."""
    generator, repeats, mu, line = np.random.default_rng(11), 300, 1.0, 0.5
    sd_out, sd_in = math.sqrt(2), math.sqrt(6)
    auc = norm.cdf(mu / math.hypot(sd_out, sd_in))
    tpr, fpr = norm.sf((line - mu) / sd_in), norm.sf(line / sd_out)
    covered = np.zeros(5)
    for _ in range(repeats):
        member = population(generator, 16, 120)
        effect, leak = generator.normal(size=120), mu + 2 * generator.normal(size=120)
        scores = member * leak + effect + generator.normal(size=member.shape)
        decisions = scores >= line
        found = [
            (intervals.auc(scores, member), auc),
            (intervals.balanced_accuracy(decisions, member), (1 + tpr - fpr) / 2),
            (intervals.accuracy(decisions, member), tpr),
            (intervals.accuracy(decisions, ~member), fpr),
        ]
        covered[:4] += [one.low <= truth <= one.high for one, truth in found]
        value, error = intervals.delong(scores.ravel(), member.ravel())
        covered[4] += abs(value - auc) <= 1.96 * error
    share, slack = covered / repeats, 3 * math.sqrt(0.95 * 0.05 / repeats)
    assert share[:4] == pytest.approx(0.95, abs=slack)
    assert share[4] < 0.75
