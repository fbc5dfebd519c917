import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.seeds import numpy_generator
from privbench.stats import roc
from privbench.stats.resampling import multiplicities

LAW = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def pools(draw):
    targets, n = draw(st.integers(1, 4)), draw(st.integers(2, 15))
    size = targets * n
    scores = draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size))
    member = draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(lambda b: any(b) and not all(b)))
    return np.array(scores, dtype=float).reshape(targets, n), np.array(member).reshape(targets, n)


def slow_cut(inside, outside, budget):
    """Try every observed score as the threshold; the smallest that keeps to the budget."""
    fit = [t for t in {*inside, *outside} if (np.array(outside) >= t).sum() <= budget]
    if not fit:
        return 0, 0, None
    t = min(fit)
    return sum(s >= t for s in inside), sum(s >= t for s in outside), t


@LAW
@given(pools(), st.integers(0, 20))
def test_cut_is_the_smallest_threshold_within_the_budget(pool, budget):
    scores, member = pool
    found = roc.cut(roc.Ranking.of(scores, member), budget)
    assert (found.hits, found.false_positives, found.threshold) == slow_cut(scores[member], scores[~member], budget)


def test_ties_move_together():
    scores, member = np.array([[3.0, 2, 2, 2, 1]]), np.array([[True, True, False, False, False]])
    ranking = roc.Ranking.of(scores, member)
    assert roc.cut(ranking, 1) == roc.Cut(1, 0, 3)  # one of the two tied non-members cannot be flagged alone
    assert roc.cut(ranking, 2) == roc.Cut(2, 2, 2)
    assert roc.cut(roc.Ranking.of(np.zeros((1, 5)), member), 2) == roc.Cut(0, 0, None)


def test_allowed_forgives_the_last_bits():
    assert roc.allowed(0.29, 100) == 29  # 0.29 * 100 is 28.999999999999996
    assert roc.allowed(0.01, 99) == 0
    assert roc.allowed(0.001, 1000) == 1
    assert all(roc.allowed(k / n, n) == k for n in range(1, 300) for k in range(n + 1))


@LAW
@given(pools())
def test_curve_is_achieved_and_rises(pool):
    scores, member = pool
    points = roc.curve(roc.Ranking.of(scores, member))
    achievable = {(0.0, 0.0)} | {((scores[~member] >= t).mean(), (scores[member] >= t).mean()) for t in scores.ravel()}
    assert all(any(point == pytest.approx(other) for other in achievable) for point in points)
    assert points == sorted(points)
    assert (points[0], points[-1]) == ((0, 0), (1, 1))


def test_curve_is_short_and_reaches_the_strict_end():
    generator = np.random.default_rng(0)
    member = generator.random((4, 5000)) < 0.5
    points = roc.curve(roc.Ranking.of(generator.normal(size=member.shape) + member, member))
    assert 40 < len(points) <= roc.POINTS
    assert any(fpr == pytest.approx(1 / (~member).sum()) for fpr, _ in points)
    assert roc.curve(roc.Ranking.of(np.zeros((1, 3)), np.ones((1, 3), dtype=bool))) == []


@LAW
@given(pools(), st.sampled_from([0.05, 0.2, 0.5, 1.0]), st.integers(0, 2**32 - 1))
def test_weighted_hits_are_those_of_repeated_examples(pool, fpr, seed):
    scores, member = pool
    n = scores.shape[1]
    weights = np.bincount(np.random.default_rng(seed).integers(n, size=n), minlength=n)
    repeated, truth = np.repeat(scores, weights, axis=1), np.repeat(member, weights, axis=1)
    if truth.all() or not truth.any():
        return
    reader = roc.Weighted(roc.Ranking.of(scores, member), fpr)
    reader.head = 1  # so that it must grow
    hits, _, _ = slow_cut(repeated[truth], repeated[~truth], roc.allowed(fpr, (~truth).sum()))
    assert reader.hits(weights[None], np.array([(~truth).sum()])) == [hits]


def test_clustered_resamples_equal_a_naive_bootstrap_with_the_same_draws():
    generator = np.random.default_rng(5)
    member = generator.random((3, 60)) < 0.5
    scores = np.round(generator.normal(size=member.shape) + member, 1)
    ranking = roc.Ranking.of(scores, member)
    fast = roc.clustered_resamples(ranking, (0.05, 0.2), multiplicities(ranking.trials, 50, 1, "test"))
    same, slow = numpy_generator(1, "test"), np.empty((2, 50))
    for column in range(50):
        drawn = same.integers(60, size=60)
        s, b = scores[:, drawn], member[:, drawn]
        for row, fpr in enumerate((0.05, 0.2)):
            slow[row, column] = slow_cut(s[b], s[~b], roc.allowed(fpr, (~b).sum()))[0] / b.sum()
    assert fast == pytest.approx(slow)


def test_clustered_resamples_skip_draws_with_one_side_only():
    ranking = roc.Ranking.of(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[True, False], [True, False]]))
    assert (roc.clustered_resamples(ranking, (0.5,), multiplicities(ranking.trials, 40, 0)) == 1).all()


def test_stratified_resamples_have_the_law_of_the_naive_bootstrap():
    """10,000 draws of each: means within 4 SE, quantiles within a few of the 80 members."""
    generator = np.random.default_rng(2)
    member = (np.arange(200) < 80)[None]
    scores = np.round(generator.normal(size=200) + 1.5 * member, 1)
    fast = roc.stratified_resamples(roc.Ranking.of(scores, member), 0.05, 10_000, np.random.default_rng(3))
    inside, outside = scores[member], np.sort(scores[~member])
    drawn = np.sort(generator.choice(outside, (10_000, 120)), axis=1)
    bar = drawn[:, -1 - roc.allowed(0.05, 120)]
    slow = (generator.choice(inside, (10_000, 80)) > bar[:, None]).mean(axis=1)
    assert fast.mean() == pytest.approx(slow.mean(), abs=4 * slow.std() * (2 / 10_000) ** 0.5)
    assert fast.std() == pytest.approx(slow.std(), rel=0.04)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    assert np.quantile(fast, levels) == pytest.approx(np.quantile(slow, levels), abs=2.5 / 80)


def test_stratified_resamples_where_all_may_be_flagged():
    ranking = roc.Ranking.of(np.zeros((1, 4)), np.array([[True, True, False, False]]))
    assert (roc.stratified_resamples(ranking, 1.0, 5, np.random.default_rng(0)) == 1).all()


@pytest.mark.parametrize(("nonmembers", "supported"), [(99, "no"), (100, "barely"), (999, "barely"), (1000, "yes")])
def test_an_fpr_that_few_non_members_cannot_support_is_refused(nonmembers, supported):
    member = np.arange(nonmembers + 50)[None] < 50
    scores = np.arange(nonmembers + 50.0)[None]  # members lowest: the value, where there is one, is 0
    (point,) = roc.operating_points(roc.Ranking.of(scores, member), (0.01,), 100, (0, 0))
    assert point.supported == supported
    assert (point.members, point.nonmembers) == (50, nonmembers)
    if supported == "no":
        assert point.tpr.value is point.tpr.low is point.threshold is None
        assert point.tpr.note == "99 non-members cannot support an FPR of 0.01"
    else:
        assert (point.tpr.value, point.false_positives) == (0, nonmembers // 100)
        assert point.tpr.high == pytest.approx(1 - 0.025 ** (1 / 50))  # none of 50 is not surely none
        assert bool(point.tpr.note) == (supported == "barely")


def test_an_operating_point_without_members_says_so():
    ranking = roc.Ranking.of(np.zeros((1, 200)), np.zeros((1, 200), dtype=bool))
    assert roc.operating_points(ranking, (0.1,), 10, (0, 0))[0].tpr.note == "no members"
