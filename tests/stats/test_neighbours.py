import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.stats import neighbours
from privbench.stats.neighbours import nearest, ranked


def by_hand(queries, points, k, exclude=None):
    """Every difference of every pair, in float64; ties by index."""
    squares = np.square(points[None].astype(np.float64) - queries[:, None].astype(np.float64)).sum(axis=-1)
    if exclude is not None:
        squares[np.arange(len(queries)), exclude] = np.inf
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squares, order, axis=1)), order


def test_a_case_worked_out_by_hand():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    distances, indices = nearest(np.array([[0.0, 0.0], [3.0, 3.0]]), points, 2)
    np.testing.assert_array_equal(indices, [[0, 2], [1, 2]])
    np.testing.assert_array_equal(distances, [[0.0, 1.0], [1.0, np.sqrt(13.0)]])
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64


@given(
    seed=st.integers(0, 10_000),
    m=st.integers(1, 30),
    n=st.integers(2, 60),
    d=st.integers(1, 8),
    k=st.integers(1, 5),
    levels=st.sampled_from([2, 4, 1000]),  # few levels: duplicates and ties everywhere
    dtype=st.sampled_from(["uint8", "float32", "float64"]),
    excluding=st.booleans(),
)
def test_it_is_every_pair_compared(*, seed, m, n, d, k, levels, dtype, excluding):
    rng = np.random.default_rng(seed)
    scale = 1 if dtype == "uint8" else 0.1
    queries = (rng.integers(0, min(levels, 256), (m, d)) * scale).astype(dtype)
    points = (rng.integers(0, min(levels, 256), (n, d)) * scale).astype(dtype)
    exclude = rng.integers(0, n, m) if excluding else None
    k = min(k, n - excluding)
    distances, indices = nearest(queries, points, k, exclude=exclude)
    expected, order = by_hand(queries, points, k, exclude)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(distances, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_rows_are_at_distance_zero_though_they_lie_far_out(dtype):
    rng = np.random.default_rng(0)
    points = (1000 + rng.normal(size=(300, 64))).astype(dtype)
    distances, indices = nearest(points, points)
    np.testing.assert_array_equal(distances, 0)
    np.testing.assert_array_equal(indices[:, 0], np.arange(300))
    apart, others = nearest(points, points, exclude=np.arange(300))
    assert (apart > 1).all()
    assert (others[:, 0] != np.arange(300)).all()


def test_of_many_duplicates_the_first_is_named():
    rng = np.random.default_rng(1)
    points = np.repeat(rng.normal(size=(3, 5)), 200, axis=0)
    distances, indices = nearest(points[[250, 599, 0]], points, 2, exclude=np.array([200, 599, 7]))
    np.testing.assert_array_equal(indices, [[201, 202], [400, 401], [0, 1]])
    np.testing.assert_array_equal(distances, 0)


def test_small_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    queries, points = rng.normal(size=(50, 7)), rng.normal(size=(90, 7))
    expected = nearest(queries, points, 3)
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    for a, b in zip(expected, nearest(queries, points, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_memory_does_not_grow_with_the_pairs():
    rng = np.random.default_rng(3)
    queries, points = (rng.normal(size=(6000, 8)).astype(np.float32) for _ in range(2))
    tracemalloc.start()
    try:
        nearest(queries, points, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6000 * 6000  # a quarter of the pairs' distances in float32


@pytest.mark.parametrize(
    ("queries", "points", "k", "exclude", "said"),
    [
        ((2, 3), (4, 2), 1, None, "one width"),
        ((2, 3), (4, 3), 5, None, "5 nearest of 4"),
        ((2, 3), (4, 3), 4, [0, 0], "4 nearest of 3"),
        ((2, 3), (4, 3), 0, None, "0 nearest"),
    ],
)
def test_what_cannot_be_asked(queries, points, k, exclude, said):
    with pytest.raises(ValueError, match=said):
        nearest(np.zeros(queries), np.zeros(points), k, exclude=None if exclude is None else np.array(exclude))


def test_no_queries_have_no_neighbours():
    distances, indices = nearest(np.zeros((0, 3)), np.zeros((4, 3)), 2)
    assert distances.shape == indices.shape == (0, 2)


def test_ranked_is_nearest():
    rng = np.random.default_rng(0)
    queries, points = rng.normal(size=(40, 5)), rng.normal(size=(700, 5))
    points[5] = queries[3]
    points[6] = queries[3] + 1e-9
    for found, expected in zip(ranked(queries, points, 9), nearest(queries, points, 9), strict=True):
        assert found == pytest.approx(expected, abs=1e-12)
    alone = ranked(points, points, 3, alone=True)
    for found, expected in zip(alone, nearest(points, points, 3, exclude=np.arange(700)), strict=True):
        assert found == pytest.approx(expected, abs=1e-12)
