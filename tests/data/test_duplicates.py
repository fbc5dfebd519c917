"""Exact duplicates, against a count over a dictionary."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privbench.data.dataset import Dataset, Examples
from privbench.data.duplicates import duplicated, duplicates


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
