from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from privbench.errors import DataError
from privbench.external import tables
from privbench.external.tables import classes, read_table

FRAME = pd.DataFrame({"label": ["NA", "None", "nan"], "a": [1, 2, 3], "b": [0.5, 0.25, 0.125]})
INDEX = "the first column has no name and numbers the rows: taken for an index, and left out."
NAMELESS = "the first row holds numbers only: there is no header, columns are called 0, 1, ..."

TABLES = {
    "plain": (FRAME.to_csv(index=False), []),
    "with an index": (FRAME.to_csv(), [INDEX]),
    "with an index of two parts": (
        FRAME.set_index(pd.Index([0, 1, 0])).to_csv(),
        ["the first column has no name: taken for an index, and left out."],
    ),
    "with a shuffled index": (FRAME.set_index(pd.Index([5, 3, 9])).to_csv(), [INDEX]),
    "semicolons": (FRAME.to_csv(index=False, sep=";"), ["columns are separated by semicolons."]),
    "decimal commas": (
        FRAME.to_csv(index=False, sep=";", decimal=","),
        ["columns are separated by semicolons.", "numbers have decimal commas."],
    ),
    "tabs": (FRAME.to_csv(index=False, sep="\t"), ["columns are separated by tabs."]),
    "bars": (FRAME.to_csv(index=False, sep="|"), ["columns are separated by vertical bars."]),
    "blanks": (FRAME.to_csv(index=False, sep=" "), ["columns are separated by blanks."]),
    "blanks after commas": (FRAME.to_csv(index=False).replace(",", ", "), []),
    "byte-order mark": ("\ufeff" + FRAME.to_csv(index=False), []),
    "Windows": (FRAME.to_csv(index=False, lineterminator="\r\n"), []),
    "a line for Excel": ("sep=;\n" + FRAME.to_csv(index=False, sep=";"), ["columns are separated by semicolons."]),
    "a line for Excel, in quotes": ('"sep=,"\n' + FRAME.to_csv(index=False), []),
    "blanks around names": (FRAME.to_csv(index=False).replace("label,a", " label , a "), []),
    "commas at the end": (FRAME.to_csv(index=False).replace("\n", ",\n"), []),
    "an index without a comma in the header": (
        FRAME.to_csv().removeprefix(","),
        ["rows have one cell more than the header: the first is taken for an index, and left out."],
    ),
}


def _labels(name):
    return name == "label"


@pytest.mark.parametrize(("text", "notes"), TABLES.values(), ids=TABLES)
def test_tables_as_people_have_them(tmp_path, text, notes):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    found = read_table(tmp_path / "t.csv", _labels)
    assert list(found.columns) == ["label", "a", "b"]
    assert found.columns["label"].tolist() == ["NA", "None", "nan"]
    assert found.columns["a"].tolist() == [1, 2, 3]
    assert found.columns["b"].tolist() == [0.5, 0.25, 0.125]
    assert found.empty == {}
    assert list(found.notes) == notes


def test_utf_16_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "t.txt").write_text("label\ta\nü\t1\n", encoding="utf-16")
    assert read_table(tmp_path / "t.txt").columns["label"].tolist() == ["ü"]


def test_only_empty_cells_are_missing(tmp_path):
    (tmp_path / "t.csv").write_text("label,a,b\n,1,\nx,,2\nNA,3,4\n")
    found = read_table(tmp_path / "t.csv", _labels)
    assert found.columns["label"].tolist() == ["", "x", "NA"]
    np.testing.assert_array_equal(found.columns["a"], [1, np.nan, 3])
    assert found.empty == {"label": 1, "a": 1, "b": 1}


def test_labels_stay_as_they_are_written(tmp_path):
    (tmp_path / "t.csv").write_text("label,a\n01,1\n1,2\n")
    labels = read_table(tmp_path / "t.csv", _labels).columns["label"]
    assert labels.tolist() == classes(labels).tolist() == ["01", "1"]
    assert classes(np.array(["1", "-1", "10"])).tolist() == [1, -1, 10]
    assert classes(np.array(["0.000e+00", "2.000e+00"])).tolist() == [0, 2]
    assert classes(np.array(["1.0", "2.5"])).tolist() == ["1.0", "2.5"]
    assert classes(np.array(["nan", "inf", "1"])).tolist() == ["nan", "inf", "1"]
    assert classes(np.array(["1", "1.0"])).tolist() == ["1", "1.0"]
    assert classes(np.array(["1", str(2**70)])).tolist() == ["1", str(2**70)]


@pytest.mark.parametrize("header", ["label ,a", " label,a", '"label ",a', ""])
def test_labels_stay_as_they_are_written_under_any_header(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n01,1\n1,2\n".lstrip("\n"))
    found = read_table(tmp_path / "t.csv", lambda name: name in {"label", "0"}).columns
    assert next(iter(found.values())).tolist() == ["01", "1"]


def test_large_integers_are_not_rounded(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n9007199254740993,18446744073709551615\n1,2\n")
    found = read_table(tmp_path / "t.csv").columns
    assert found["a"][0] == 2**53 + 1
    assert found["b"][0] == 2**64 - 1


@pytest.mark.parametrize("header", [True, False])
def test_class_numbers_are_a_header_and_probabilities_are_none(tmp_path, header):
    p = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    pd.DataFrame(p).to_csv(tmp_path / "t.csv", index=False, header=header)
    found = read_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(np.stack(list(found.columns.values()), axis=1), p)
    assert list(found.columns) == ["0", "1", "2"]
    assert list(found.notes) == ([] if header else [NAMELESS])


def test_savetxt(tmp_path):
    p = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    np.savetxt(tmp_path / "t.txt", p)
    found = read_table(tmp_path / "t.txt")
    np.testing.assert_array_equal(np.stack(list(found.columns.values()), axis=1), p)
    assert list(found.notes) == ["columns are separated by blanks.", NAMELESS]


def test_a_column_without_a_name_that_is_no_index_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("a,,b\n1,2,3\n4,5,6\n")
    found = read_table(tmp_path / "t.csv")
    assert list(found.columns) == ["a", "Unnamed: 1", "b"]
    assert found.notes == ("column 'Unnamed: 1' has no name in the file, and is kept.",)


UNREADABLE = {
    "nothing": (b"", "is empty"),
    "header only": (b"a,b\n", "has no rows"),
    "rows of different lengths": (b"a,b\n1,2\n1,2,3,4\n", "not a readable table"),
    "Latin-1": ("a,b\né,2\n".encode("latin-1"), "not text in UTF-8"),
    "Latin-1, far down": (b"a,b\n" + b"1,2\n" * 100_000 + b"\xe9,2\n", "not a readable table"),
    "two columns of one name": (b"a,b,a\n1,2,3\n", "has several columns called 'a'; give each its own name"),
    "zero bytes": (b"a,b\n\0,1\n", "zero bytes"),
    "integers beyond 64 bits": (b"a,b\n99999999999999999999999,1\n", "column 'a' holds integers of more than 64 bits"),
}


@pytest.mark.parametrize(("content", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_table_is_said_in_a_line(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.csv")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")


def _parquet(monkeypatch, result):
    def read_parquet(path):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(pd, "read_parquet", read_parquet)


def test_parquet(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").touch()
    frame = pd.DataFrame({"label": pd.Categorical(["x", "y"]), 0: pd.array([1, None], dtype="Int64")}, index=[7, 8])
    _parquet(monkeypatch, frame)
    found = read_table(tmp_path / "t.parquet")
    assert found.columns["label"].tolist() == ["x", "y"]
    np.testing.assert_array_equal(found.columns["0"], [1, np.nan])
    assert found.empty == {"0": 1}
    assert found.notes == ("the index is left out.",)


def test_an_index_of_parquet_is_named_and_may_hold_the_labels(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").touch()
    index = pd.MultiIndex.from_arrays([["x", "y"], [7, 8]], names=["label", "patient"])
    _parquet(monkeypatch, pd.DataFrame({"a": [1, 2]}, index=index))
    found = read_table(tmp_path / "t.parquet", _labels)
    assert {key: column.tolist() for key, column in found.columns.items()} == {"label": ["x", "y"], "a": [1, 2]}
    assert found.notes == ("the index, 'patient', is left out.",)


def test_decimals_of_parquet_are_numbers(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").touch()
    _parquet(monkeypatch, pd.DataFrame({"a": [Decimal("0.25"), Decimal(2)], "b": [None, Decimal("0.5")]}))
    found = read_table(tmp_path / "t.parquet").columns
    assert found["a"].tolist() == [0.25, 2]
    np.testing.assert_array_equal(found["b"], [np.nan, 0.5])


def test_parquet_with_a_list_in_each_cell(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").touch()
    _parquet(monkeypatch, pd.DataFrame({"p": [np.array([0.5, 0.5]), np.array([0.25, 0.75])], "y": [0, 1]}))
    assert read_table(tmp_path / "t.parquet").columns["p"].tolist() == [[0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("Unable to find a usable engine"), "pip install 'privbench[parquet]'"),
        (
            OSError("torn\nfile"),
            "not a readable .parquet file; write it again, or save the table as .csv (OSError: torn file)",
        ),
    ],
)
def test_parquet_that_cannot_be_read(tmp_path, monkeypatch, error, said):
    (tmp_path / "t.parquet").touch()
    _parquet(monkeypatch, error)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.parquet")
    assert said in str(caught.value)


HOSTILE = {
    "a field beyond the limit of csv": b'a,b\n"' + b"x" * 200_000 + b'",1\n',
    "an endless line": b"x" * (1 << 24),
    "zero bytes": b"a,b\n1,\0\n",
    "an open quote": b'a,b\n1,"2\n3,4\n',
    "ragged rows": b"a,b\n" + b"1,2\n" * 60 + b"1,2,3,4\n",
    "half a character": b"a,b\n" + b"1,2\n" * 60 + b"\xff,1\n",
    "UTF-16 cut in two": b"\xff\xfea\0,\0b\0\n\0001",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_are_refused_in_one_line(name, tmp_path):
    (tmp_path / "t.csv").write_bytes(HOSTILE[name])
    with pytest.raises(DataError, match=r"t\.csv") as told:
        read_table(tmp_path / "t.csv")
    assert "\n" not in str(told.value)


def test_parquet_that_promises_more_rows_than_fit_is_refused(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "SPARE", 0)
    parquet.write_table(arrow.table({"a": arrow.array([1.0] * 100_000)}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="promises 100,000 rows of 1 columns, too many for its size"):
        read_table(tmp_path / "t.parquet")
