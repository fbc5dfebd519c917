import numpy as np

from privbench.external.exactness import alike, exactly, side_by_side


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
