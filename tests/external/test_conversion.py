import decimal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from privbench.errors import DataError
from privbench.external.conversion import as_array

Z = np.arange(6.0).reshape(3, 2)
BIG = 2**60 + 1

SAME = {
    "array": (Z, Z),
    "other byte order": (Z.astype(">f4"), Z.astype("<f4")),
    "list": (Z.tolist(), Z),
    "tuples": (tuple(map(tuple, Z.tolist())), Z),
    "list of arrays": (list(Z), Z),
    "large integers": ([BIG, 1], np.array([BIG, 1])),
    "larger integers": ([2**63, 1], np.array([2**63, 1], dtype=np.uint64)),
    "decimals": ([decimal.Decimal("1.5")], np.array([1.5])),
    "tensor": (torch.tensor(Z), Z),
    "gradient": (torch.tensor(Z, requires_grad=True), Z),
    "list of tensors": ([torch.tensor(1.5, requires_grad=True), torch.tensor(2.5)], np.float32([1.5, 2.5])),
    "float16": (torch.tensor(Z, dtype=torch.float16), Z.astype(np.float16)),
    "bfloat16": (torch.tensor(Z, dtype=torch.bfloat16), Z.astype(np.float32)),
    "sparse tensor": (torch.tensor(Z).to_sparse(), Z),
    "data frame": (pd.DataFrame(Z, columns=["a", "b"]), Z),
    "columns of one name": (pd.DataFrame(Z, columns=["a", "a"]), Z),
    "integers and floats": (pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}), np.array([[1, 0.5], [2, 1.5]])),
    "data frame of texts": (pd.DataFrame({"a": ["x", "y"]}), np.array([["x"], ["y"]])),
    "series": (pd.Series([1, 2]), np.array([1, 2])),
    "objects": (pd.Series([1, 2.5], dtype=object), np.array([1, 2.5])),
    "Int64": (pd.Series([BIG, 2], dtype="Int64"), np.array([BIG, 2])),
    "Float32": (pd.Series([1.5, 2], dtype="Float32"), np.float32([1.5, 2])),
    "boolean": (pd.Series([True, False], dtype="boolean"), np.array([True, False])),
    "texts": (pd.Series(["01", "NA"]), np.array(["01", "NA"])),
    "categories": (pd.Series(["b", "a", "b"], dtype="category"), np.array(["b", "a", "b"])),
    "numbered categories": (pd.Categorical([3, 1, 3]), np.array([3, 1, 3])),
    "index": (pd.Index([4, 5]), np.array([4, 5])),
    "nothing masked": (np.ma.masked_array(Z), Z),
    "object array": (np.array([[1, 2], [3, 4]], dtype=object), np.array([[1, 2], [3, 4]])),
    "a row in each cell": (pd.Series(Z.tolist()), Z),
    "bytes": (np.array([b"cat"]), np.array(["cat"])),
    "sparse": (scipy.sparse.csr_array(Z), Z),
    "range": (range(3), np.arange(3)),
}


@pytest.mark.parametrize(("value", "expected"), SAME.values(), ids=SAME)
def test_values_and_types_stay(value, expected):
    found = as_array(value, "x")
    assert type(found) is np.ndarray
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert found.shape == expected.shape
    assert (found == expected).all()


def test_a_missing_float_is_nan():
    assert np.isnan(as_array([1.0, np.nan], "x")[1])
    assert np.isnan(as_array(pd.Series([1.5, None], dtype="Float64"), "x")[1])


REFUSED = {
    "rows of different lengths": ([[1, 2], [3]], "different shapes"),
    "a pair": ((Z, np.zeros(3)), "different shapes"),
    "texts and numbers": ([1, "a"], "holds objects (int, str)"),
    "a frame of both": (pd.DataFrame({"a": ["x"], "b": [1]}), "column 'a' holds no numbers"),
    "None": ([1, None], "1 values are missing"),
    "missing integer": (pd.Series([1, None], dtype="Int64"), "1 values are missing"),
    "missing boolean": (pd.Series([True, None], dtype="boolean"), "1 values are missing"),
    "missing text": (pd.DataFrame({"a": ["x", None]}), "column 'a': 1 values are missing"),
    "missing category": (pd.Series(["x", None], dtype="category"), "1 values are missing"),
    "masked": (np.ma.masked_greater(Z, 2), "3 masked values"),
    "complex": (np.array([1j]), "complex128"),
    "complex tensor": (torch.tensor([1j]), "complex64"),
    "tensor without numbers": (torch.empty(3, device="meta"), "(Tensor) cannot be read"),
    "dates": (pd.Series(pd.to_datetime(["2020-01-01"])), "datetime64"),
    "objects": ([{}, []], "x"),
    "rows of different lengths in cells": (pd.Series([[1], [1, 2]]), "different shapes"),
    "record array": (np.zeros(2, dtype=[("a", int)]), "expected numbers"),
    "dict": ({}, "is a dict"),
    "text": ("abc", "is a str"),
    "nothing": (None, "is a NoneType"),
    "one number": (3, "single value"),
    "generator": ((i for i in range(3)), "is a generator"),
    "integers that floats round": ([BIG, 0.5], "beyond 2**53"),
    "columns that floats round": (pd.DataFrame({"a": [BIG], "b": [0.5]}), "beyond 2**53"),
    "integers beyond 64 bits": ([2**70], "more than 64 bits"),
}


@pytest.mark.parametrize(("value", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_array_is_refused_in_a_line(value, said):
    with pytest.raises(DataError) as caught:
        as_array(value, "x")
    assert said in str(caught.value)
    assert str(caught.value).startswith("x")
    assert "\n" not in str(caught.value)


def test_no_library_is_imported():
    code = "import sys, privbench.external.conversion as c\nc.as_array([1.5], '')\n"
    code += "print({'torch', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
