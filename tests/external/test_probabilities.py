import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from privbench.errors import DataError
from privbench.external import audit_predictions
from privbench.external.answers import predictions
from privbench.external.probabilities import as_logits

TREES, SHADOWS = 30, 8


def _audit(p, digits_data, attack="lira", **given):
    _, y, halves = digits_data
    kind = given.pop("kind", "probabilities")
    answers = {kind: p[0], f"shadow_{kind}": p[1:]}
    return audit_predictions(
        labels=y, membership=halves[0], shadow_membership=halves[1:], attack=attack, **{**answers, **given}
    )


def _auc(*args, **given):
    return _audit(*args, **given)[0].metrics.auc.value


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    halves = np.stack([rng.permutation(400) < 200 for _ in range(SHADOWS + 1)])
    return x[:400] / 16, y[:400], halves


@pytest.fixture(scope="module")
def forest(data):
    x, y, halves = data
    models = [RandomForestClassifier(TREES, random_state=i).fit(x[half], y[half]) for i, half in enumerate(halves)]
    return np.stack([model.predict_proba(x) for model in models])


@pytest.fixture(scope="module")
def regression(data):
    x, y, halves = data
    return np.stack([LogisticRegression(C=10, max_iter=300).fit(x[half], y[half]).predict_proba(x) for half in halves])


def _reference(p, y, halves, floor):
    """LiRA with two global variances, of the log-odds of max(p, floor): AUC."""
    at_label = np.take_along_axis(p, np.broadcast_to(y[:, None], (*p.shape[:2], 1)), -1)[..., 0]
    phi = np.log(np.maximum(at_label, floor)) - np.log(np.maximum(1 - at_label, floor))
    target, shadow, member = phi[0], phi[1:], halves[1:]
    scores = 0
    for sign, side in ((1, ~member), (-1, member)):
        mean = (shadow * side).sum(axis=0) / np.maximum(side.sum(axis=0), 1)
        scores = scores + sign * (target - mean) ** 2 / shadow[side].var(ddof=1)
    return roc_auc_score(halves[0], np.where(member.any(axis=0) & ~member.all(axis=0), scores, 0))


def test_lira_finds_in_a_forest_what_is_there(forest, data):
    _, y, halves = data
    right = _reference(forest, y, halves, 0.5 / TREES)
    assert right > 0.85
    audited = _audit(forest, data)
    assert audited[0].metrics.auc.value == pytest.approx(right, abs=0.05)
    assert audited.warnings == ()
    assert "smallest other probability is 0.0333: the zeros of a row share half of that, 0.017" in audited.notes[0]
    assert "if the model has them" in audited.notes[0]


@pytest.mark.parametrize(
    "of",
    [
        lambda p: p.astype(np.float32),
        lambda p: np.clip(p, 1e-15, 1),
        lambda p: p + 1e-12,
        lambda p: p.round(4),
        lambda p: np.floor(p * 100) / 100,
    ],
    ids=["float32", "clipped", "with an epsilon", "rounded", "cut off"],
)
def test_the_same_forest_written_otherwise(forest, data, of):
    assert _auc(of(forest), data) == pytest.approx(_auc(forest, data), abs=0.01)


@pytest.mark.parametrize("least", [0, 1e-12], ids=["log(0)", "clipped"])
def test_log_probabilities_of_a_forest_are_its_probabilities(forest, data, least):
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(forest, least))
    assert _auc(logs, data, kind="logits") == pytest.approx(_auc(forest, data), abs=1e-3)


@pytest.mark.parametrize("least", [0, 1e-12], ids=["log(0)", "clipped"])
def test_logs_of_rounded_probabilities_may_sum_to_1_as_roughly_as_these(least):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(10, 0.3), 200).round(3)  # rows are off by up to 0.004
    about = {"labels": rng.integers(0, 10, 200), "membership": np.arange(200) % 2}
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(p, least))
    given = predictions({"probabilities": p, **about}, "m")
    found = predictions({"logits": logs, **about}, "m")
    np.testing.assert_allclose(found.logits, given.logits, rtol=1e-4)


@pytest.mark.parametrize("count", [2, 4])
def test_rounding_costs_lira_little(regression, data, count):
    """Two digits of ten classes are off by up to 0.05 in a row."""
    rounded = np.round(regression, count)
    assert _auc(rounded, data) > _auc(regression, data) - 0.06
    assert _auc(rounded / rounded.sum(axis=-1, keepdims=True), data) == pytest.approx(_auc(rounded, data), abs=0.02)


def test_the_order_of_confidences_stays(forest, data):
    _, y, halves = data
    auc = roc_auc_score(halves[0], np.take_along_axis(forest[0], y[:, None], 1)[:, 0])
    assert _auc(forest, data, attack="confidence") == pytest.approx(auc, abs=0.003)


def test_one_floor_for_target_and_shadows(regression, data):
    """What the target's rounding hides must not count as a difference from shadows that are not rounded."""
    audited = _audit(regression, data, probabilities=regression[0].round(2))
    assert "models differ in resolution, 0.01 against " in audited.warnings[0]
    alike = _auc(regression.round(2), data)
    assert audited[0].metrics.auc.value == pytest.approx(alike, abs=0.05)


def _one(p):
    (logits,), warnings, notes = as_logits([("mine: probabilities", np.asarray(p)[:, None])])
    return logits[:, 0], warnings, notes


def test_zeros_of_a_row_share_half_the_least_that_is_above_zero():
    logits, warnings, _ = _one([[1, 0, 0], [0.75, 0.25, 0], [0.5, 0.25, 0.25]])
    np.testing.assert_allclose(np.exp(logits), [[1, 1 / 16, 1 / 16], [0.75, 0.25, 1 / 8], [0.5, 0.25, 0.25]])
    assert warnings == []


def test_of_two_classes_each_has_its_own_floor():
    """1 - p ends at the precision of 1 - p, where p goes on."""
    p = np.float32([[0.5, 0.5], [1 - 2**-20, 2**-20], [1, 2**-90], [0, 1]])
    logits, _, _ = _one(p)
    assert logits[3, 0] == pytest.approx(np.log(0.25))  # half the least of this column
    assert logits[2, 1] == pytest.approx(np.log(2.0**-90))


def test_of_two_classes_of_a_tree_the_order_of_confidences_stays():
    logits, _, _ = _one([[1, 0], [0, 1], [0.99, 0.01], [0.25, 0.75]])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert p[0, 0] == p[1, 1] > p[2, 0]


def test_a_class_that_is_never_answered():
    logits, _, _ = _one(np.float32([[1, 0], [1 - 2**-22, 2**-22]])[:1])
    assert np.isfinite(logits).all()
    (target, shadow), _, _ = as_logits(
        [("p", np.float32([[[1, 0]]])), ("shadow_p", np.float32([[[[1 - 2**-22, 2**-22]]]]))]
    )
    assert np.isfinite(target).all()
    assert np.isfinite(shadow).all()


def test_hundred_classes_of_which_one_is_sure():
    p = np.zeros((2, 100))
    p[0, 0] = 1
    p[1] = np.repeat([0.01, 0.02, 0.03, 0.0], 25) / 1.5
    logits, _, _ = _one(p)
    assert logits[0, 0] - np.log(np.exp(logits[0, 1:]).sum()) == pytest.approx(np.log(150 / 0.5), rel=1e-6)


def test_a_tree_whose_leaves_are_fractions_is_no_reason_to_cut_off_others():
    tree, other = [[0.5, 0.5, 0], [1, 0, 0]], [[0.99, 0.01, 0], [0.3, 0.7, 0]]
    (_, shadow), warnings, _ = as_logits([("p", np.array(tree)[:, None]), ("shadow_p", np.array([other])[:, :, None])])
    assert np.exp(shadow[0, 0, 0]).tolist() == pytest.approx([0.99, 0.01, 0.005])
    assert warnings == []


@pytest.mark.parametrize(("type_", "least"), [(np.float32, 2.0**-149), (np.float64, 2.0**-1074)])
def test_underflow_is_not_taken_for_a_coarse_resolution(type_, least):
    z = np.array([[0, -50.3, -87.1, -20000.7], [0, -1.7, -20000.3, -86.2]]).astype(type_)
    p = np.exp(z)
    logits, warnings, notes = _one(p / p.sum(axis=-1, keepdims=True))
    assert logits.min() == pytest.approx(np.log(least), rel=1e-6)
    assert "2 of 2 rows of probabilities hold a probability of exactly 0" in warnings[0]
    assert "if the model has them" in warnings[0]
    assert notes == []


def test_underflow_in_float32_is_seen_after_widening():
    p = np.exp(np.float32([[-1.1, -0.4055, -87.1, -20000.7]])).astype(np.float64)
    assert _one(p)[0].min() == pytest.approx(np.log(2.0**-149), rel=1e-6)


def test_predicted_classes_alone():
    _, warnings, notes = _one(np.eye(3))
    assert "tells no more than the predicted class" in warnings[0]
    assert notes == []


def test_what_rounding_has_taken_from_a_row_is_in_its_zeros():
    p = np.full((2, 100), 0.004)
    p[0, 0] = 1 - p[0, 1:].sum()
    p[1] = 0.01
    logits, _, _ = _one(p.round(2))
    assert logits[0, 0] - np.log(np.exp(logits[0, 1:]).sum()) == pytest.approx(np.log(0.6 / 0.4))


def test_percentages_and_rows_that_are_off():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    with pytest.raises(DataError, match="sum to 100: these are percentages; divide them by 100"):
        _one((100 * p).round(1))
    with pytest.raises(DataError, match="50 of 50 rows do not sum to 1"):
        _one(p.round(3) * 0.9)
    with pytest.raises(DataError, match="do not sum to 1"):
        _one(np.where(np.arange(50)[:, None] == 7, 0, p.round(1)))
