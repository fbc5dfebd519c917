"""Columns of tables as features and classes, as people have them."""

import numpy as np
import pandas as pd
import pytest

from privbench.errors import BadOption, DataError
from privbench.external.features import check_numbers, doubtful_classes, features_and_classes

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"age": RNG.integers(18, 90, 60), "dose": RNG.normal(size=60), "outcome": np.where(np.arange(60) % 2, "yes", "no")}
)
INDEX = "t.csv: the first column has no name and numbers the rows: taken for an index, and left out."


@pytest.fixture
def read(tmp_path):
    def read(frame, label="outcome", **how):
        frame.to_csv(tmp_path / "t.csv", **how)
        return features_and_classes(tmp_path / "t.csv", label)

    return read


ROWS = pd.Series(np.arange(60))
WRITTEN = {
    "without an index": (FRAME, {"index": False}, []),
    "with an index": (FRAME, {}, [INDEX]),
    "with a shuffled index": (FRAME.set_index(RNG.permutation(60)), {}, [INDEX]),
    "twice": (FRAME.assign(**{"Unnamed: 0": ROWS})[["Unnamed: 0", *FRAME]], {"index": False}, [INDEX]),
    "an index with a name": (FRAME, {"index_label": "id"}, ["t.csv: column 'id' numbers the rows, and is left out."]),
    "an index from 1": (
        FRAME.assign(nr=ROWS + 1),
        {"index": False},
        ["t.csv: column 'nr' numbers the rows, and is left out."],
    ),
    "semicolons": (
        FRAME,
        {"index": False, "sep": ";", "decimal": ","},
        ["t.csv: columns are separated by semicolons.", "t.csv: numbers have decimal commas."],
    ),
    "byte-order mark": (FRAME, {"index": False, "encoding": "utf-8-sig"}, []),
    "quotes": (FRAME, {"index": False, "quoting": 1}, []),
}


@pytest.mark.parametrize(("frame", "how", "notes"), WRITTEN.values(), ids=WRITTEN)
def test_only_features_are_features(read, frame, how, notes):
    found = read(frame, **how)
    np.testing.assert_allclose(found.x, FRAME[["age", "dose"]], rtol=1e-6)
    assert found.y.tolist() == FRAME["outcome"].tolist()
    assert found.notes == notes
    assert found.warnings == []


def test_identifiers_are_warned_of(read):
    found = read(FRAME.assign(patient=RNG.permutation(60) * 7 + 1000), index=False)
    assert found.x.shape == (60, 3)
    (warning,) = found.warnings
    assert "column 'patient' holds a different whole number in each row, as an identifier does" in warning


def test_labels_are_texts_and_only_empty_cells_are_missing(read):
    names = ["NA", "None", "01", "1"]
    found = read(FRAME.assign(outcome=[names[i % 4] for i in range(60)]), index=False)
    assert sorted(set(found.y.tolist())) == sorted(names)
    assert found.warnings == ["t.csv: 'NA', 'None' count as classes; leave those rows out if their labels are missing."]
    with pytest.raises(DataError, match="'outcome' has empty cells"):
        read(FRAME.assign(outcome=np.where(np.arange(60) % 2, "yes", "")), index=False)


def test_one_class_in_two_spellings_is_warned_of(read):
    found = read(FRAME.assign(outcome=[("yes", "Yes", "no")[i % 3] for i in range(60)]), index=False)
    assert found.warnings == ["t.csv: 'Yes', 'yes' are different classes, though they differ only in case or blanks."]


def test_numbered_classes_are_in_the_order_of_their_numbers(read):
    assert read(FRAME.assign(outcome=np.arange(60) % 12), index=False).y.dtype == np.int64


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["NA" if i == 7 else str(i % 50) for i in range(60)], "'dose' holds texts, such as 'NA'; repair them, or"),
        (["nan" if i == 7 else str(i % 50) for i in range(60)], "'dose' holds texts, such as 'nan'; repair them, or"),
        (["1_000" for _ in range(60)], "'dose' holds texts, such as '1_000'"),
        (["1,234.5" for _ in range(60)], "'dose' holds texts, such as '1,234.5'"),
        (["2024-01-31" for _ in range(60)], "'dose' holds texts, such as '2024-01-31'"),
        ([1_700_000_000 + int(i) for i in RNG.permutation(60)], r"column 'dose' runs from 1700000000 to 1700000059"),
    ],
)
def test_columns_that_are_no_features_are_named(read, column, said):
    with pytest.raises(DataError) as caught:
        read(FRAME.assign(dose=column), index=False)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_in_cells_are_refused():
    with pytest.raises(DataError, match=r"t.parquet: 'a': cells hold lists; give each number its own column"):
        check_numbers({"a": np.zeros((4, 2)), "b": np.zeros(4)}, "t.parquet")


def test_rows_are_compared_before_they_are_narrowed(read):
    wide = 10**15 * (np.arange(60) % 2) + RNG.permutation(60)  # float32 merges most of them
    found = read(FRAME.assign(age=wide, dose=1.0), index=False)
    assert len(np.unique(found.x, axis=0)) < 40
    assert len(np.unique(found.exact, axis=0)) == 60


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (None, "Which column holds the classes? Give --label COLUMN. Columns: 'age', 'dose', 'outcome'."),
        ("Outcome", "t.csv has no column 'Outcome'. Did you mean 'outcome'? Columns: 'age',"),
    ],
)
def test_the_label_column_must_be_named(read, label, said):
    with pytest.raises(BadOption) as caught:
        read(FRAME, label, index=False)
    assert said in str(caught.value)


NO_CLASSES = {
    "continuous": (RNG.normal(100, 20, 200).round(6).astype(str), "numbers to predict, not classes"),
    "continuous floats": (RNG.normal(100, 20, 200), "numbers to predict, not classes"),
    "tenths": ((RNG.integers(10, 50, 200) / 10).astype(str), "numbers to predict, not classes"),
    "identifiers": (
        np.array([f"u{i}" for i in range(200)]),
        "most examples have their own label, like an identifier",
    ),
    "whole numbers": (np.arange(200) * 3, "most examples have their own label"),
}


@pytest.mark.parametrize(("y", "said"), NO_CLASSES.values(), ids=NO_CLASSES)
def test_a_target_that_is_no_class_is_refused(y, said):
    with pytest.raises(DataError) as caught:
        doubtful_classes(y, "t.csv")
    assert str(caught.value).startswith("t.csv: 200 examples have ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("y", "doubtful"),
    [
        (np.arange(200) % 42, True),
        (np.arange(2000) % 42, True),
        (np.arange(4200) % 42, False),
        (np.array([f"street {i}" for i in np.arange(200) % 42]), True),
        (np.array([f"class {i}" for i in np.arange(2000) % 42]), False),
        (np.arange(200) % 10, False),
        (np.arange(200) % 4 / 2, False),
        (np.arange(200) % 2 == 0, False),
    ],
)
def test_many_classes_of_few_examples_are_warned_of(y, doubtful):
    assert bool(doubtful_classes(y, "t.csv")) == doubtful
