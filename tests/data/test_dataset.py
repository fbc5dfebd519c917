from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.data.dataset import ROLES, Dataset, Examples
from privbench.errors import DataError

N = 12


def arrays(n=N, dtype=np.float32, shape=(3,)):
    x = np.arange(n * int(np.prod(shape))).reshape(n, *shape).astype(dtype)
    return x, np.arange(n, dtype=np.int64) % 2


def roles(*, pool=(0, 1, 2, 3), reference=(4, 5), validation=(6, 7), test=(8, 9)):
    named = {"pool": pool, "reference": reference, "validation": validation, "test": test}
    return {role: np.asarray(rows) for role, rows in named.items()}


def dataset(x=None, y=None, classes=2, **rows):
    default_x, default_y = arrays()
    return Dataset(Examples(default_x if x is None else x, default_y if y is None else y), classes, **roles(**rows))


def test_examples_are_indexed_together():
    x, y = arrays()
    chosen = Examples(x, y)[[3, 1]]
    np.testing.assert_array_equal(chosen.x, x[[3, 1]])
    np.testing.assert_array_equal(chosen.y, y[[3, 1]])
    assert len(chosen) == 2


def test_inputs_without_labels_are_refused():
    x, y = arrays()
    with pytest.raises(DataError, match=r"12 inputs, but 11 labels"):
        Examples(x, y[1:])


@pytest.mark.parametrize(("shape", "image", "taken"), [((3,), False, (3,)), ((8, 6, 3), True, (3, 8, 6))])
def test_images_and_tables(shape, image, taken):
    x, y = arrays(shape=shape)
    made = dataset(x, y)
    assert made.examples.is_image is image
    assert made.shape == taken


def test_roles_give_their_examples():
    made = dataset()
    for role in ROLES:
        np.testing.assert_array_equal(made.role(role).x, made.examples.x[roles()[role]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"test": (3, 8)}, "share examples; they must be disjoint"),
        ({"test": (8, 8)}, "share examples"),
        ({"test": (8, N)}, "role 'test' must hold row numbers, integers from 0 to 11"),
        ({"test": (8, -N)}, "must hold row numbers"),  # row 0 by another name
        ({"test": (8.0, 9.0)}, "must hold row numbers"),
        ({role: [True, False] for role in ROLES}, "must hold row numbers"),
    ],
)
def test_roles_are_disjoint_row_numbers(rows, message):
    with pytest.raises(DataError, match=message):
        dataset(**rows)


@given(st.permutations(range(N)), st.tuples(*[st.integers(0, N)] * 3), st.integers(0, N - 1))
def test_any_cut_of_the_rows_makes_roles_and_any_overlap_does_not(order, cuts, repeated):
    pool, reference, validation, test = np.split(np.array(order), sorted(cuts))
    dataset(pool=pool, reference=reference, validation=validation, test=test)
    with pytest.raises(DataError, match="share"):
        dataset(pool=pool, reference=reference, validation=validation, test=np.append(test, repeated))


def nan(x):
    x = x.copy()
    x[[2, 5], 0] = np.nan, np.inf
    return x


X, Y = arrays()


@pytest.mark.parametrize(
    ("x", "y", "classes", "message"),
    [
        (X.astype(np.float64), Y, 2, "inputs are float64; convert them to uint8"),
        (X[:, :, None], Y, 2, r"shape \(12, 3, 1\); expected"),
        (nan(X), Y, 2, "2 of 12 inputs hold NaN or infinity"),
        (X, Y.astype(float), 2, "labels are float64; convert them to integers"),
        (X, Y * 0, 2, "all 12 labels are the same class"),
        (X, Y - 1, 2, "labels run from -1 to 0, but must lie in 0 to 1"),
        (X, Y + 1, 2, "labels run from 1 to 2, but must lie in 0 to 1"),
        (X, Y, 13, "12 examples for 13 classes"),
    ],
)
def test_unfit_arrays_are_one_line_that_says_what_to_do(x, y, classes, message):
    with pytest.raises(DataError, match=message) as caught:
        dataset(x, y, classes)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_is_of_content_and_roles():
    x, y = arrays()
    same = dataset(np.asfortranarray(x), y.copy())
    assert dataset().fingerprint == same.fingerprint
    changed = x.copy()
    changed[11, 2] += 1
    others = [
        dataset(changed),
        dataset(y=1 - y),
        dataset(pool=(0, 1, 2, 10)),
        dataset(pool=(1, 0, 2, 3)),
        dataset(test=()),
        dataset(x.view(np.uint8)),
        dataset(x.reshape(N, 1, 1, 3)),
    ]
    assert len({dataset().fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_a_role_that_is_shared_is_copied_once_and_refuses_to_be_written():
    data = dataset()
    own, shared = data.role("pool"), data.shared("pool")
    assert data.shared("pool") is shared
    assert np.array_equal(own.x, shared.x)
    assert np.array_equal(own.y, shared.y)
    own.x[:] = 0  # of whoever asked for it
    for array in (shared.x, shared.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert shared.x.any()
    assert data.shared("test") is not shared
