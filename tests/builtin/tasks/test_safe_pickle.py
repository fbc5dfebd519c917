"""The reader of pickles rebuilds plain data and refuses all else."""

import collections
import functools
import pickle

import numpy as np
import pytest

from privbench.builtin.tasks.safe_pickle import UnsafePickleError, loads


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "array", [np.arange(12, dtype=np.uint8).reshape(3, 4), np.asfortranarray(np.ones((2, 3), ">i4"))]
)
def test_arrays_of_integers_come_back(protocol, array):
    found = loads(pickle.dumps({"data": array, "labels": [1, 2], "name": b"batch"}, protocol=protocol))
    assert np.array_equal(found["data"].array, array)
    assert (found["labels"], found["name"]) == ([1, 2], b"batch")


def test_the_pickles_of_python_2_with_arrays_as_text_come_back():
    old = (  # what Python 2 wrote for numpy.array([1, 200], 'uint8')
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\xc8'\ntb."
    )
    assert loads(old).array.tolist() == [1, 200]


@pytest.mark.parametrize(
    "thing",
    [
        print,
        functools.partial(print, "x"),
        collections.OrderedDict(),
        np.array([{}], object),
        np.float64(1),
        np.ones(2),
        {1},
    ],
    ids=["builtin", "partial", "class", "objects", "scalar", "floats", "set"],
)
def test_whatever_else_a_pickle_asks_for_is_refused(thing):
    with pytest.raises(UnsafePickleError, match=r"it (asks for|holds)"):
        loads(pickle.dumps(thing, protocol=2))


def test_another_codec_is_refused():
    with pytest.raises(UnsafePickleError, match=r"codec rot13"):
        loads(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"garbage", pickle.dumps(np.arange(9))[:-20]])
def test_damaged_bytes_are_a_value_error(data):
    with pytest.raises(ValueError, match=r"no readable pickle"):
        loads(data)
