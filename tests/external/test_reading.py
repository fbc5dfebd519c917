import numpy as np
import pandas as pd
import pytest
import torch

from privbench.data.dataset import Examples
from privbench.errors import BadOption, DataError
from privbench.external.reading import one_set

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 2
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])

GIVEN = {
    "array": X,
    "list": X.tolist(),
    "tensor": torch.tensor(X, requires_grad=True),
    "frame": pd.DataFrame(X),
    "frame with names": FRAME,
    "frame with an index": FRAME.set_index(np.arange(12)[::-1]),
    "examples": Examples(X, Y),
    "mapping": {"data": X},
    "mapping of a frame": {"x": FRAME, "y": Y},
    "pair": (X, Y),
    "pair of a frame and a column": (FRAME, pd.Series(Y)),
    "pair of lists": (X.tolist(), Y.tolist()),
    "pair without labels": (X, None),
    "pair of texts": (X, ["no", "yes"] * 6),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_whatever_people_have_in_python(given):
    found = one_set(given, "real")
    x = np.stack(list(found.x.values()), axis=1) if isinstance(found.x, dict) else found.x
    np.testing.assert_array_equal(x, X)
    assert len(found) == 12
    if found.y is not None:
        assert found.y.tolist() in (Y.tolist(), ["no", "yes"] * 6)


def test_names_of_columns_are_kept():
    for given in (FRAME, (FRAME, Y), {"x": FRAME}):
        assert list(one_set(given, "real").x) == ["a", "b", "c"]


def test_files(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv")
    FRAME.assign(sick=["no", "yes"] * 6).to_csv(tmp_path / "b.tsv", sep="\t", index=False)
    np.savez(tmp_path / "c.npz", x=X)
    plain, labelled = one_set(tmp_path / "a.csv", "real"), one_set(str(tmp_path / "b.tsv"), "real", "sick")
    for found in (plain, labelled):
        np.testing.assert_array_equal(np.stack(list(found.x.values()), axis=1), X)
    assert "real (a.csv): the first column has no name and numbers the rows" in plain.notes[0]
    assert labelled.y.tolist() == ["no", "yes"] * 6
    np.testing.assert_array_equal(one_set(tmp_path / "c.npz", "real").x, X)


NONE = {
    "text": (FRAME.assign(b="x"), None, "real: 'b' holds texts, such as 'x'; repair them, or encode them"),
    "text without a label": (FRAME.assign(b="x"), None, "If it holds labels, name it as the label."),
    "no such label": (FRAME.assign(sick=Y), "sik", "real has no column 'sik'. Did you mean 'sick'? Columns: 'a', 'b'"),
    "label of an array": (X, "b", "'b' cannot be the column of labels; only tables with named columns have one"),
    "NaN": (FRAME.assign(b=np.nan), None, "real: 'b' holds NaN or infinity; remove or repair"),
    "no rows": (FRAME[:0], None, "real has no rows"),
    "two of one name": (pd.concat([FRAME, FRAME], axis=1), None, "real has several columns called 'a'"),
    "label only": (FRAME[["a"]], "a", "real: 'a' is the only column"),
    "objects": (np.array([[{}]], dtype=object), None, "holds objects"),
    "ragged": ([[1, 2], [3]], None, "different shapes"),
    "labels of another length": ((X, Y[:3]), None, "real: 12 examples, y (3,); give one class from 0 per example"),
    "None": (None, None, "real: x"),
}


@pytest.mark.parametrize(("given", "label", "said"), NONE.values(), ids=NONE)
def test_what_is_no_set_is_said_in_a_line(given, label, said):
    with pytest.raises((DataError, BadOption)) as caught:
        one_set(given, "real", label)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_cells_are_counted(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,\n2,\n,3\n")
    with pytest.raises(DataError, match=r"real \(a.csv\) has empty cells \('a' 1, 'b' 2\)"):
        one_set(tmp_path / "a.csv", "real")
