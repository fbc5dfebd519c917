import numpy as np
import pytest

from privbench.errors import DataError
from privbench.external.truth import labels, membership

Y = np.array([0, 2, 1, 2])
NAMED = np.array(["ant", "bee", "cat"])[Y]


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (Y, []),
        (Y.astype(np.uint8), []),
        (Y.astype(float), []),
        (Y.astype(str), []),
        (Y[:, None], []),
        (np.eye(3)[Y], []),
        (np.eye(3, dtype=bool)[Y], []),
        (NAMED, ["ant", "bee", "cat"]),
        (Y + 1, ["1", "2", "3"]),
        (Y + 1.0, ["1", "2", "3"]),
    ],
)
def test_labels(raw, names):
    found = labels(raw, 3, names, "mine: labels")
    assert found.dtype == np.int64
    assert found.tolist() == Y.tolist()


def test_booleans_are_two_classes():
    for raw in (np.array([True, False]), np.array(["True", "False"])):
        assert labels(raw, 2, [], "mine: labels").tolist() == [1, 0]


def test_booleans_are_names_too():
    assert labels(np.array([True, False]), 2, ["True", "False"], "mine: labels").tolist() == [0, 1]


def test_names_are_those_of_the_columns_in_their_order():
    assert labels(NAMED, 3, ["cat", "ant", "bee"], "mine: labels").tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("raw", "names", "said"),
    [
        (Y - 1, [], "class numbers run from -1 to 1, but the predictions have 3 columns; number them 0 to 2"),
        (Y + 1, [], "class numbers run from 1 to 3, but the predictions have 3 columns"),
        (np.array([5, 6]), [], "class numbers run from 5 to 6"),
        (NAMED, [], "holds texts, 'ant', 'bee', 'cat'; number them 0 to 2"),
        (NAMED, ["ant", "bee", "dog"], "which are not the names of the columns, 'ant', 'bee', 'dog'"),
        (Y, ["1", "2", "3"], "has the classes 0, 1, 2, but the columns of the predictions are called 1, 2, 3"),
        (np.array(["01", "1"]), [], "holds texts, '01', '1'"),
        (np.array([str(i) + "x" for i in range(9)]), [], "'0x', '1x', ..., '8x'"),
        (np.array([0, np.nan]), [], "1 values that are NaN"),
        (np.array([0.5, 1]), [], "no whole numbers"),
        (np.full((4, 3), 1 / 3), [], "its rows are not one-hot"),
        (np.zeros((4, 2)), [], "expected one class number per example"),
        (np.array([True, False]), [], "bool and no whole numbers"),
    ],
)
def test_labels_that_are_none(raw, names, said):
    with pytest.raises(DataError) as caught:
        labels(raw, 3, names, "mine: labels")
    assert said in str(caught.value)
    assert str(caught.value).startswith("mine: labels")


def test_membership():
    truth = np.array([True, False, True])
    for raw in (
        truth,
        truth.astype(int),
        truth.astype(float),
        truth.astype(str),
        np.array(["train", "Test", "train"]),
        np.array(["in", "OUT", "member"]),
    ):
        assert membership(raw, "mine: membership").tolist() == truth.tolist()
    with pytest.raises(
        DataError, match="mine: membership holds texts, 'a', 'b'; give 1 for members and 0 for all others"
    ):
        membership(np.array(["a", "b"]), "mine: membership")
    for raw in (np.array([1, -1]), np.array([0.5])):
        with pytest.raises(DataError, match="holds values other than 0 and 1"):
            membership(raw, "mine: membership")
