"""Exact duplicates, against a count over a dictionary."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privbench.data.dataset import Dataset, Examples
from privbench.data.duplicates import alike, duplicated, duplicates, exactly, side_by_side


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.integers(0, 2)))
def test_the_count_is_that_of_a_dictionary(x):
    counts = Counter(row.tobytes() for row in x)
    assert duplicated(x).tolist() == [counts[row.tobytes()] > 1 for row in x]


def test_rows_that_differ_in_one_bit_are_no_duplicates():
    x = np.zeros((9, 8, 8, 3), np.uint8)
    x[np.arange(9), 0, 0, 0] = [1, 2, 3, 4, 5, 6, 7, 8, 1]
    assert np.flatnonzero(duplicated(x)).tolist() == [0, 8]


def test_equal_floats_are_duplicates_whatever_the_sign_of_zero():
    assert duplicated(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]], np.float32)).tolist() == [True, True, False]


def test_a_meeting_of_hashes_alone_is_no_duplicate(monkeypatch):
    alike = SimpleNamespace(integers=lambda _low, _high, size, dtype: np.zeros(size, dtype))  # a hash is the sum
    monkeypatch.setattr("privbench.seeds.numpy_generator", lambda *_: alike)
    assert duplicated(np.array([[1, 2], [2, 1], [1, 2]], np.uint64)).tolist() == [True, False, True]


def test_duplicates_are_counted_over_all_roles():
    x = np.array([[0], [1], [2], [0]], np.float32)
    rows = dict(zip(("pool", "reference", "validation", "test"), np.arange(4)[:, None], strict=True))
    assert duplicates(Dataset(Examples(x, np.array([0, 1, 0, 1])), 2, **rows)) == 2


def test_numbers_are_compared_in_the_types_that_they_were_given_in():
    far = 2**53
    whole = np.array([[far], [far + 1], [2**63 - 1], [5]])
    unsigned = np.array([[far + 1], [2**63], [2**64 - 1], [5]], np.uint64)
    floats = np.array([[float(far)], [float(2**63)], [0.5], [5.0]])
    everything = [row.tobytes() for row in np.concatenate(alike(*map(exactly, (whole, unsigned, floats))))]
    assert [everything.index(row) for row in everything] == [0, 1, 2, 3, 1, 5, 6, 3, 0, 5, 10, 3]


def test_bytes_stay_bytes():
    x = np.zeros((2, 3, 3, 1), np.uint8)
    assert exactly(x).dtype == np.uint8
    assert [each.dtype for each in alike(exactly(x), exactly(x.astype(np.float32)))] == [np.float64, np.float64]


def test_columns_of_different_types_stand_side_by_side():
    whole, floats = np.array([1, 2**60 + 1, 2**60]), np.array([0.5, 0.5, 0.5], np.float32)
    found = side_by_side([whole, floats, whole > 1])
    assert found.tolist() == [[1, 0.5, 0, 0, 0, 0], [2.0**60, 0.5, 1, 1, 0, 0], [2.0**60, 0.5, 1, 0, 0, 0]]
    assert side_by_side([floats, floats]).shape == (3, 2)
