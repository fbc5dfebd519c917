import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from privbench.errors import DataError
from privbench.external import audit_predictions
from privbench.external.logits import as_float32, check, finite

N = 400


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(1)
    member, y, z = rng.permutation(N) < N // 2, rng.integers(0, 3, N), rng.normal(size=(N, 3))
    z[np.arange(N), y] += 1 + member
    return z, y, member


@pytest.mark.parametrize("offset", [0, 1e4, 1e6, 1e8, -1e12])
def test_an_offset_changes_nothing(answers, offset):
    z, y, member = answers
    audited = audit_predictions(logits=z + offset, labels=y, membership=member, attack="confidence")
    right = roc_auc_score(member, log_softmax(z, axis=-1)[np.arange(N), y])
    assert audited[0].metrics.auc.value == pytest.approx(right, abs=1e-3)
    assert audited.warnings == ()


def test_offsets_of_their_own(answers):
    z, y, member = answers
    z = z + np.random.default_rng(2).normal(size=(N, 1)) * 1e9
    audited = audit_predictions(logits=z, labels=y, membership=member, attack="confidence")
    assert audited[0].metrics.auc.value == pytest.approx(roc_auc_score(member, log_softmax(z, -1)[np.arange(N), y]))


LOST = {
    "float64": lambda z: z + 1e16,
    "huge": lambda z: z + 1e300,
    "float32": lambda z: (z + 1e8).astype(np.float32),
    "float16": lambda z: (z + 2000).astype(np.float16),
    "one row": lambda z: z + np.where(np.arange(N) == 5, 1e17, 0)[:, None],
}


@pytest.mark.parametrize("of", LOST.values(), ids=LOST)
def test_lost_differences_are_refused(answers, of):
    with pytest.raises(DataError, match="no longer resolves differences between classes; subtract each row's maximum"):
        check(of(answers[0])[:, None], "mine: logits")


@pytest.mark.parametrize(("offset", "type_"), [(1e6, np.float32), (1e15, np.float64)])
def test_blurred_differences_are_warned_of(answers, offset, type_):
    (said,) = check((answers[0] + offset).astype(type_)[:, None], "mine: logits")
    assert f"beside which {type_.__name__} resolves only" in said


def test_what_float32_holds_stays_bit_for_bit(answers):
    z = answers[0].astype(np.float32)[:, None]
    for same in (z, z.astype(np.float64), z * 1e10):
        (found,), warnings = as_float32([("logits", same)])
        assert (found == same).all()
        assert warnings == []


def test_target_and_shadows_are_centred_alike(answers):
    z = answers[0][:, None]
    (target, shadows), _ = as_float32([("logits", z), ("shadow_logits", z[None] + 1e8)])
    assert target.max() == shadows.max() == 0
    np.testing.assert_allclose(target, shadows[0], atol=1e-6)


def test_differences_beside_larger_ones_survive():
    z = np.array([[[0, 1e10, 1e10 + 1]], [[1, 0, -1e10]]])
    (found,), _ = as_float32([("logits", z)])
    assert found[0, 0].tolist() == [np.float32(-1e10), -1, 0]


def test_integers():
    z = np.array([[[3, 1]], [[0, 7]]])
    (found,), _ = as_float32([("logits", z)])
    assert (found == z).all()
    with pytest.raises(DataError, match=r"integers beyond 2\*\*53"):
        check(z + 2**60, "logits")


def test_half_precision(answers):
    (said,) = check(answers[0].astype(np.float16)[:, None], "logits")
    assert "no more than float16 precision" in said


def test_constant_answers_are_no_offset():
    assert check(np.full((5, 1, 3), 5.0), "logits") == []


@pytest.mark.parametrize(("value", "said"), [(-np.inf, "give the probabilities instead"), (np.nan, "or repair them")])
def test_not_finite(value, said):
    z = np.zeros((5, 1, 3))
    z[2, 0, 1] = value
    with pytest.raises(DataError, match=rf"1 numbers that are NaN or infinite, the first at \(2, 0, 1\).*{said}"):
        finite(z, "logits")
