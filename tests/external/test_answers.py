import numpy as np
import pandas as pd
import pytest

from privbench.errors import DataError
from privbench.external.answers import predictions

N, C, S = 40, 4, 3


@pytest.fixture
def arrays():
    rng = np.random.default_rng(1)
    return {
        "logits": rng.normal(size=(N, C)),
        "labels": rng.integers(0, C, N),
        "membership": rng.permutation(N) < N // 2,
        "shadow_logits": rng.normal(size=(S, N, C)),
        "shadow_membership": np.stack([rng.permutation(N) < N // 2 for _ in range(S)]),
    }


def _softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.fixture
def soft(arrays):
    return {
        "probabilities": _softmax(arrays["logits"]),
        "labels": arrays["labels"],
        "membership": arrays["membership"],
    }


def test_what_comes_out(arrays):
    found = predictions(arrays, "mine")
    assert found.logits.shape == (N, 1, C)
    assert found.logits.dtype == np.float32
    assert found.shadow_logits.shape == (S, N, 1, C)
    assert (found.labels.dtype, found.member.dtype, found.shadow_member.dtype) == (np.int64, bool, bool)
    assert found.warnings == ()


def test_without_shadows(soft):
    found = predictions(soft, "mine")
    assert found.shadow_logits.shape == (0, N, 1, C)
    assert found.shadow_member.shape == (0, N)
    np.testing.assert_allclose(found.logits[:, 0], np.log(soft["probabilities"]), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.uint8])
def test_zeros_and_ones_are_a_membership(arrays, kind):
    found = predictions({**arrays, "membership": arrays["membership"].astype(kind)}, "mine")
    assert (found.member == arrays["membership"]).all()


def test_other_names(soft, arrays):
    renamed = {"y": soft["labels"], "is_member": soft["membership"], "Y-Proba": soft["probabilities"]}
    assert predictions(renamed, "mine").fingerprint == predictions(soft, "mine").fingerprint
    with pytest.raises(DataError, match="labels and y are both labels; leave one out"):
        predictions({**arrays, "y": arrays["labels"]}, "mine")


def test_the_fingerprint_is_of_all_that_is_attacked(arrays):
    first = predictions(arrays, "mine").fingerprint
    assert predictions({**arrays, "logits": arrays["logits"].astype(np.float32)}, "other").fingerprint == first
    for name in arrays:
        changed = arrays[name].copy()
        changed[0] = changed[0] + 1 if name == "logits" else changed[1]
        if not np.array_equal(changed, arrays[name]):
            assert predictions({**arrays, name: changed}, "mine").fingerprint != first


def _with(arrays, **changes):
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


BAD = {
    "labels is absent": ({"labels": None}, "no array 'labels'. Found: logits, membership"),
    "labels has a slip": ({"labels": None, "lables": np.zeros(N, int)}, "Rename 'lables' to 'labels'?"),
    "no shadow membership": ({"shadow_membership": None}, "no array 'shadow_membership'"),
    "no shadow answers": ({"shadow_logits": None}, "no array 'shadow_logits' or 'shadow_probabilities'"),
    "text": ({"logits": np.full((N, C), "a")}, "logits is <U1; expected floating-point numbers"),
    "one number each": ({"logits": np.zeros(N)}, "numpy.column_stack"),
    "one column": ({"logits": np.zeros((N, 1))}, "numpy.column_stack"),
    "four axes": ({"logits": np.zeros((N, 1, 1, C))}, "(40, 1, 1, 4); expected (n, classes)"),
    "nothing": ({"logits": np.zeros((0, C))}, "shape (0, 4)"),
    "NaN": ({"logits": np.where(np.arange(N)[:, None] == 7, np.nan, np.ones((N, C)))}, "first at (7, 0, 0)"),
    "too large": ({"logits": np.full((N, C), 1e39) * np.arange(C)}, "more than float32 holds"),
    "too few labels": ({"labels": np.zeros(N - 1, int)}, "(39,), but logits has shape (40, 4)"),
    "labels from 1": (
        {"labels": np.arange(N) % C + 1},
        "class numbers run from 1 to 4, but the predictions have 4 columns; number them 0 to 3",
    ),
    "negative labels": ({"labels": np.arange(N) % C - 1}, "class numbers run from -1 to 2"),
    "halves": ({"labels": np.full(N, 0.5)}, "no whole numbers"),
    "membership of another size": ({"membership": np.zeros(N + 1, bool)}, "(41,), but logits has shape (40, 4)"),
    "membership of twos": ({"membership": np.arange(N) % 3}, "for example 2"),
    "membership of words": ({"membership": np.full(N, "perhaps")}, "holds texts, 'perhaps'; give 1 for members"),
    "all members": ({"membership": np.ones(N)}, "marks members only (40 of 40)"),
    "no members": ({"membership": np.zeros(N)}, "marks non-members only (40 of 40)"),
    "shadows of others": ({"shadow_logits": np.zeros((S, N, C + 1))}, "(3, 40, 5), but logits has shape (40, 4)"),
    "one shadow": ({"shadow_logits": np.zeros((N, C))}, "expected numbers of shape ('shadows', 40, 4)"),
    "no shadow": ({"shadow_logits": np.zeros((0, N, C))}, "(0, 40, 4)"),
    "shadows infinite": ({"shadow_logits": np.full((S, N, C), np.inf)}, "shadow_logits has 480 numbers"),
    "shadow membership": ({"shadow_membership": np.zeros((N, S))}, "(40, 3), but shadow_logits has shape (3, 40, 4)"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit(arrays, changes, said):
    with pytest.raises(DataError) as caught:
        predictions(_with(arrays, **changes), "mine")
    assert said in str(caught.value)
    assert str(caught.value).startswith("mine: ")
    assert "\n" not in str(caught.value)


def test_probabilities_that_are_none(soft):
    p = soft["probabilities"].copy()
    p[3:5] *= 0.5
    with pytest.raises(DataError, match=r"2 of 40 rows do not sum to 1; row 3 is the first, its sum is 0\.5"):
        predictions({**soft, "probabilities": p}, "mine")
    with pytest.raises(DataError, match=r"row \(3, 1\) is the first"):
        predictions({**soft, "probabilities": np.stack([soft["probabilities"], p], axis=1)}, "mine")
    p[3, 1] = -0.1
    with pytest.raises(DataError, match=r"negative numbers in 1 of 40 rows, the first at \(3, 0, 1\)"):
        predictions({**soft, "probabilities": p}, "mine")


def test_rounded_to_three_digits_is_still_one(soft):
    predictions({**soft, "probabilities": soft["probabilities"].astype(np.float32).round(4)}, "mine")


def test_a_probability_of_zero_is_the_least_there_is(soft):
    p = np.eye(C)[soft["labels"]]
    found = predictions({**soft, "probabilities": p}, "mine")
    assert found.logits.min() == pytest.approx(np.log(5e-324))
    assert "all are 0 or 1" in found.warnings[0]
    p = _softmax(np.float32([[200, 0, 0, 0]] * N))
    assert predictions({**soft, "probabilities": p}, "m").logits.min() == pytest.approx(np.log(1.4e-45), rel=1e-3)


def test_half_precision_is_warned_of(soft):
    found = predictions({**soft, "probabilities": soft["probabilities"].astype(np.float16)}, "mine")
    assert "float16" in found.warnings[0]


def test_logits_that_look_like_probabilities(soft):
    misnamed = {"logits": soft["probabilities"], "labels": soft["labels"], "membership": soft["membership"]}
    (warning,) = predictions(misnamed, "mine").warnings
    assert "save them as 'probabilities'" in warning


def test_both_kinds(arrays, soft):
    found = predictions({**arrays, "probabilities": soft["probabilities"]}, "mine")
    assert found.warnings == ("both logits and probabilities are given; the logits are used.",)


def test_what_is_not_read_is_said(arrays):
    found = predictions({**arrays, "x": np.zeros(3), "shadow_prob": np.zeros(3)}, "mine")
    assert found.warnings[0] == "array 'x' is not read."
    assert "'shadow_prob' is not read; did you mean 'shadow_prob" in found.warnings[1]


def test_rows_of_data_frames_in_different_orders(soft):
    order = np.random.default_rng(0).permutation(N)
    given = {**soft, "probabilities": pd.DataFrame(soft["probabilities"], index=order)}
    (warning,) = predictions({**given, "labels": pd.Series(soft["labels"], index=order[::-1])}, "mine").warnings
    assert "have the same index in different orders" in warning
    for labels in (pd.Series(soft["labels"]), pd.Series(soft["labels"], index=order), soft["labels"]):
        assert predictions({**given, "labels": labels}, "mine").warnings == ()


def test_keys_that_are_no_texts(arrays):
    assert predictions({**arrays, 0: [1]}, "mine").warnings == ("array '0' is not read.",)


def test_a_shadow_with_the_targets_members(arrays):
    arrays["shadow_membership"][1] = arrays["membership"]
    (warning,) = predictions(arrays, "mine").warnings
    assert warning.startswith("shadow 1 has the target's own members: ")
    arrays["shadow_logits"][1] = np.float32(arrays["logits"])
    arrays["logits"] = np.float32(arrays["logits"])
    assert "its predictions are the target's too" in predictions(arrays, "mine").warnings[0]


def test_a_shadow_that_is_the_targets_partner(arrays):
    arrays["shadow_membership"][2] = ~arrays["membership"]
    warnings = predictions(arrays, "mine").warnings
    assert warnings[0].startswith("shadow 2 was trained on the complement")


def test_counts_that_give_membership_away(arrays):
    """Every example is a member of two of four models: the count of the three shadows then says which."""
    rng = np.random.default_rng(2)
    keep = np.stack([rng.permutation([True, True, False, False]) for _ in range(N)], axis=1)
    given = {**arrays, "membership": keep[0], "shadow_membership": keep[1:]}
    (warning,) = predictions(given, "mine").warnings
    assert "(AUC 0.000)" in warning
    paired = np.stack([keep[1], ~keep[1]])
    balanced = {**given, "shadow_membership": paired, "shadow_logits": arrays["shadow_logits"][:2]}
    assert predictions(balanced, "mine").warnings == ()
