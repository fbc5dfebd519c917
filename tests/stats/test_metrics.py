import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.errors import CellFailed, InvalidScores
from privbench.stats import intervals, metrics

LAW = settings(deadline=None, derandomize=True, max_examples=50)


def halves(generator, targets, n):
    member = np.empty((targets, n), dtype=bool)
    for pair in range(targets // 2):
        half = np.isin(np.arange(n), generator.permutation(n)[: n // 2])
        member[2 * pair], member[2 * pair + 1] = half, ~half
    return member


def estimates(found):
    yield from (found.auc, found.balanced_accuracy, found.advantage, found.oracle_balanced_accuracy)
    yield from (found.true_positive_rate, found.false_positive_rate)
    yield from (point.tpr for point in found.tpr_at_fpr)


@pytest.mark.parametrize("targets", [1, 8])
def test_null_scores_are_worth_nothing(targets):
    generator = np.random.default_rng(4)
    member = halves(generator, 8, 2000)[:targets]
    scores = generator.normal(size=member.shape)
    found = metrics.evaluate(scores, member, scores > 0, seed=0)
    for one in (found.auc, found.balanced_accuracy):
        assert abs(one.value - 0.5) <= 3 * (one.high - one.low) / (2 * 1.96)
    assert found.tpr_at_fpr[0].tpr.low <= 0.01 <= found.tpr_at_fpr[0].tpr.high
    assert found.oracle_balanced_accuracy.value > 0.5  # hindsight finds something in noise


@pytest.mark.parametrize("targets", [1, 4])
def test_the_truth_as_scores_is_perfect(targets):
    member = halves(np.random.default_rng(0), 4, 2000)[:targets]
    found = metrics.evaluate(member.astype(float), member, member, seed=0)
    for one in (found.auc, found.balanced_accuracy, found.oracle_balanced_accuracy, found.advantage):
        assert (one.value, one.high) == (1, 1)
        assert 0.98 < one.low < 1
    assert [(point.tpr.value, point.false_positives, point.threshold) for point in found.tpr_at_fpr] == [(1, 0, 1)] * 2
    assert (found.true_positive_rate.value, found.false_positive_rate.value) == (1, 0)
    assert found.roc == [(0, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize("targets", [1, 10])
def test_gaussian_scores_give_the_closed_form(targets):
    """N(2, 1) against N(0, 1): AUC .92135, TPR at 1 % .37208, best balanced accuracy .84134."""
    generator = np.random.default_rng(8)
    member = halves(generator, 10, 200_000 // targets)[:targets]
    scores = generator.normal(size=member.shape) + 2 * member
    found = metrics.evaluate(scores, member, scores >= 1, seed=0, fprs=(0.01,), resamples=200)
    truths = (0.92135, 0.37208, 0.84134, 0.68269, 0.84134, 0.15866)
    measured = (found.auc, found.tpr_at_fpr[0].tpr, found.balanced_accuracy, found.advantage)
    measured += (found.true_positive_rate, found.false_positive_rate)
    for one, truth in zip(measured, truths, strict=True):
        assert one.value == pytest.approx(truth, abs=3.5 * (one.high - one.low) / (2 * 1.96))
        assert 0 < one.high - one.low < 0.03
    assert found.oracle_balanced_accuracy.value == pytest.approx(0.84134, abs=0.004)
    assert found.tpr_at_fpr[0].threshold == pytest.approx(2.3263, abs=0.05)


@st.composite
def cases(draw):
    targets, n = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    size = targets * n
    scores = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    member = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return np.array(scores, dtype=float).reshape(targets, n), np.array(member).reshape(targets, n)


@LAW
@given(cases())
def test_every_number_is_inside_its_interval_or_says_why_it_is_missing(case):
    scores, member = case
    found = metrics.evaluate(scores, member, scores > 0, seed=0, fprs=(0.3, 0.01), resamples=20)
    for one in estimates(found):
        if one.value is None:
            assert one.low is one.high is None
            assert one.note
        else:
            assert one.low <= one.value <= one.high
    each = found.per_target
    for spread in (each.auc, each.balanced_accuracy, *each.tpr_at_fpr):
        assert len(spread.values) == len(scores)
        assert all(triple is None or triple[1] <= triple[0] <= triple[2] for triple in spread.values)
    assert metrics.Metrics.model_validate_json(found.model_dump_json()) == found


@LAW
@given(cases(), st.randoms(use_true_random=False))
def test_order_is_all_that_counts_in_scores(case, random):
    scores, member = case
    decisions = scores > 0
    found = metrics.evaluate(scores, member, decisions, seed=0, fprs=(0.3,), resamples=20)
    moved = metrics.evaluate(2 * scores**3 + 5, member, decisions, seed=0, fprs=(0.3,), resamples=20)
    plain = found.model_dump(exclude={"tpr_at_fpr": {0: {"threshold"}}})
    assert moved.model_dump(exclude={"tpr_at_fpr": {0: {"threshold"}}}) == plain
    columns = random.sample(range(scores.shape[1]), scores.shape[1])
    moved = metrics.evaluate(
        scores[:, columns], member[:, columns], decisions[:, columns], seed=0, fprs=(0.3,), resamples=20
    )
    assert [one.value for one in estimates(moved)] == [one.value for one in estimates(found)]
    assert moved.roc == found.roc


@pytest.mark.parametrize("fill", [True, False])
def test_one_side_only_is_not_available(fill):
    member = np.full((3, 500), fill)
    found = metrics.evaluate(np.zeros(member.shape), member, ~member, seed=0)
    rate = found.true_positive_rate if fill else found.false_positive_rate
    assert rate.value == (0 if fill else 1)
    rest = [one for one in estimates(found) if one is not rate]
    assert all(one.value is None and one.note for one in rest)
    assert found.roc == []
    assert found.per_target.auc == metrics.Spread(values=[None] * 3, mean=None, sd=None)


def test_no_targets_is_not_available():
    found = metrics.evaluate(np.empty((0, 5)), np.empty((0, 5), dtype=bool), None, seed=0)
    assert all(one.value is None for one in estimates(found))


def test_without_decisions_their_numbers_are_missing():
    member = halves(np.random.default_rng(0), 2, 100)
    found = metrics.evaluate(member + 0.0, member, None, seed=0)
    for one in (found.balanced_accuracy, found.advantage, found.true_positive_rate, found.false_positive_rate):
        assert (one.value, one.note) == (None, "the attack makes no decisions")
    assert found.per_target.balanced_accuracy.values == [None, None]
    assert found.oracle_balanced_accuracy.value == 1


def test_refusal_is_no_zero():
    member = halves(np.random.default_rng(0), 2, 100)
    found = metrics.evaluate(np.zeros(member.shape), member, None, seed=0)
    assert [point.supported for point in found.tpr_at_fpr] == ["barely", "no"]
    assert [point.tpr.value for point in found.tpr_at_fpr] == [0, None]
    assert found.per_target.tpr_at_fpr[0].values == [None, None]  # 50 non-members each


def test_one_target_pooled_is_that_target_alone():
    generator = np.random.default_rng(1)
    member = halves(generator, 2, 600)[:1]
    found = metrics.evaluate(generator.normal(size=member.shape) + member, member, None, seed=3)
    one = found.tpr_at_fpr[0].tpr
    assert found.per_target.tpr_at_fpr[0].values[0] == pytest.approx((one.value, one.low, one.high), rel=1e-5)
    assert found.per_target.tpr_at_fpr[0].sd is None


def test_the_spread_is_over_targets():
    generator = np.random.default_rng(1)
    member = halves(generator, 6, 400)
    scores = generator.normal(size=member.shape) + member
    found = metrics.evaluate(scores, member, scores > 0.5, seed=3).per_target
    each = [intervals.delong(score, truth)[0] for score, truth in zip(scores, member, strict=True)]
    assert [triple[0] for triple in found.auc.values] == pytest.approx(each, rel=1e-5)
    assert (found.auc.mean, found.auc.sd) == pytest.approx((np.mean(each), np.std(each, ddof=1)))


def test_the_seed_decides_the_bootstrap_and_nothing_else():
    generator = np.random.default_rng(1)
    member = halves(generator, 4, 300)
    scores = generator.normal(size=member.shape) + member
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that the global generator is left alone
    one, same, other = (metrics.evaluate(scores, member, None, seed=seed, fprs=(0.05,)) for seed in (0, 0, 1))
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert one == same
    assert one.tpr_at_fpr[0].tpr != other.tpr_at_fpr[0].tpr
    assert one.auc == other.auc


def test_a_record_of_64_targets_stays_small():
    generator = np.random.default_rng(0)
    member = halves(generator, 64, 500)
    scores = generator.normal(size=member.shape) + member
    found = metrics.evaluate(scores, member, scores > 0.5, seed=0, resamples=20)
    assert len(json.dumps(found.model_dump(mode="json"))) < 16_000


def test_a_record_takes_nothing_unknown():
    with pytest.raises(ValueError, match="surprise"):
        intervals.Estimate(value=1, low=1, high=1, n=1, surprise=2)
    with pytest.raises(ValueError, match="frozen"):
        intervals.Estimate(value=1, low=1, high=1, n=1).value = 0


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 4)), r"^scores have shape \(2, 4\); expected \(2, 3\)\.$"),
        (np.full((3, 2), np.nan), r"^scores have shape \(3, 2\); expected \(2, 3\)\.$"),
        (None, r"^scores have shape \(\); expected \(2, 3\)\.$"),
        ([[1, 2, 3], [1]], "^scores are no array of numbers: "),
        ([["a"] * 3] * 2, "^scores have dtype <U1; expected real numbers"),
        (np.ones((2, 3)) * 1j, "^scores have dtype complex128; expected real numbers"),
        (
            [[0, np.nan, 1], [np.inf, 0, -np.inf]],
            r"^3 of 6 scores are not finite \(1 NaN, 2 infinite\), the first at \(0, 1\); expected finite numbers\.$",
        ),
    ],
)
def test_unfit_scores_are_refused_with_the_right_fault(scores, message):
    with pytest.raises(InvalidScores, match=message):
        metrics.check_scores(scores, (2, 3))


def test_the_first_bad_score_of_a_list_is_named():
    with pytest.raises(InvalidScores, match=r"1 of 3 scores .* the first at 2;"):
        metrics.check_scores(np.array([0, 1, np.inf], dtype=np.float32), (3,))


def test_fit_scores_come_back_as_float64():
    found = metrics.check_scores(np.array([True, False]), (2,))
    assert (found.dtype, found.tolist()) == (np.float64, [1, 0])


def test_evaluate_refuses_misfits():
    member = np.array([[True, False]])
    with pytest.raises(InvalidScores, match="1 NaN"):
        metrics.evaluate(np.array([[0, np.nan]]), member, None, seed=0)
    with pytest.raises(InvalidScores, match="decisions have shape"):
        metrics.evaluate(np.zeros((1, 2)), member, member[0], seed=0)


@LAW
@given(cases())
def test_best_threshold_is_the_best_of_all(case):
    scores, member = case
    if member.all() or not member.any():
        with pytest.raises(CellFailed, match="members and of non-members"):
            metrics.best_threshold(scores, member)
        return

    def quality(t):
        return ((scores >= t)[member].mean() + (scores < t)[~member].mean()) / 2

    found = metrics.best_threshold(scores, member)
    candidates = [*np.unique(scores), np.inf]
    assert quality(found) == pytest.approx(max(map(quality, candidates)))
    as_good = [t for t in candidates[:-1] if quality(t) >= quality(found) - 1e-12]
    lower = [s for s in np.unique(scores) if s < max(as_good)]
    assert found == (max(as_good) if not lower else (max(as_good) + max(lower)) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_best_threshold_splits_neighbouring_floats_in_their_own_precision(dtype):
    low = dtype(1)
    high = np.nextafter(low, dtype(2))
    scores, member = np.array([low, high]), np.array([False, True])
    assert (scores >= metrics.best_threshold(scores, member)).tolist() == [False, True]


def test_best_threshold_is_finite_at_the_ends():
    top = np.finfo(float).max
    assert metrics.best_threshold(np.array([-top, top]), np.array([False, True])) == 0
    assert metrics.best_threshold(np.array([top, top]), np.array([False, True])) == top
    assert metrics.best_threshold(np.array([1, 2]), np.array([False, True])) == 1.5
    with pytest.raises(InvalidScores):
        metrics.best_threshold(np.array([np.nan, 1]), np.array([False, True]))


def test_success_counts_each_example():
    decisions = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], dtype=bool)
    member = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=bool)
    found = metrics.success(decisions, member)
    assert found.hits_in.tolist() == [1, 1, 1]
    assert found.n_in.tolist() == [2, 1, 1]
    assert found.hits_out.tolist() == [1, 1, 1]
    assert found.n_out.tolist() == [1, 2, 2]
    assert all(counts.dtype == np.int64 for counts in vars(found).values())
