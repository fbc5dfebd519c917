import numpy as np
import pandas as pd
import pytest

from privbench.errors import DataError
from privbench.external import audit_predictions

N, S = 60, 4
NAMES = np.array(["ant", "bee", "cat"])


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    halves = np.stack([rng.permutation(N) < N // 2 for _ in range(S + 1)])
    p = rng.dirichlet(np.ones(3), (S + 1, N))
    return {
        "probabilities": p[0],
        "labels": rng.integers(0, 3, N),
        "membership": halves[0],
        "shadow_probabilities": p[1:],
        "shadow_membership": halves[1:],
    }


def _frame(arrays, prefix="probabilities_", names=("0", "1", "2")):
    frame = pd.DataFrame(arrays["probabilities"], columns=[f"{prefix}{name}" for name in names])
    return frame.assign(label=arrays["labels"], membership=arrays["membership"])


def _with_shadows(arrays):
    frame = _frame(arrays)
    for s in range(S):
        for c in (2, 0, 1):
            frame[f"shadow_probabilities_{s}_{c}"] = arrays["shadow_probabilities"][s, :, c]
        frame[f"shadow_membership_{s}"] = arrays["shadow_membership"][s].astype(int)
    return frame


def _same(table, arrays, attack="confidence"):
    alone = {name: array for name, array in arrays.items() if attack == "lira" or "shadow" not in name}
    expected = audit_predictions(alone, attack=attack)
    found = audit_predictions(table, attack=attack)
    np.testing.assert_array_equal(found.scores[attack], expected.scores[attack])
    return found


@pytest.mark.parametrize("prefix", ["probabilities_", "prob_", "p", "proba.", "y_prob-"])
def test_a_csv_file(arrays, tmp_path, prefix):
    _frame(arrays, prefix).to_csv(tmp_path / "mine.csv", index=False)
    found = _same(tmp_path / "mine.csv", arrays)
    assert found[0].data.name == "mine"
    assert found.warnings == ()


def test_names_of_classes_and_an_index(arrays, tmp_path):
    frame = _frame(arrays, "prob_", NAMES).assign(label=NAMES[arrays["labels"]])
    frame[["prob_cat", "prob_ant", "prob_bee", "label", "membership"]].to_csv(tmp_path / "mine.csv", sep=";")
    found = audit_predictions(tmp_path / "mine.csv", attack="correctness")
    right = arrays["probabilities"].argmax(axis=1) == arrays["labels"]
    np.testing.assert_array_equal(found.scores["correctness"], right)
    assert found.notes[0] == "Columns are separated by semicolons."
    assert "taken for an index" in found.notes[1]


def test_shadows(arrays, tmp_path):
    _with_shadows(arrays).to_csv(tmp_path / "mine.csv", index=False)
    _same(tmp_path / "mine.csv", arrays, "lira")


def test_a_data_frame(arrays):
    _same(_with_shadows(arrays), arrays, "lira")
    assert audit_predictions(_frame(arrays), attack="confidence")[0].data.name == "predictions"


def test_columns_that_are_numbered(arrays, tmp_path):
    _frame(arrays, "").to_csv(tmp_path / "mine.csv", index=False)
    assert _same(tmp_path / "mine.csv", arrays).notes[0] == "Columns 0 to 2 are taken for probabilities."
    logits = {**arrays, "probabilities": np.log(arrays["probabilities"]) + 1}
    found = audit_predictions(_frame(logits, ""), attack="confidence")
    assert found.notes[0] == "columns 0 to 2 are taken for logits."


def test_a_column_of_rows(arrays):
    frame = _frame(arrays)[["label", "membership"]].assign(proba=arrays["probabilities"].tolist())
    _same(frame, arrays)


def test_membership_in_words(arrays, tmp_path):
    words = np.where(arrays["membership"], "train", "test")
    _frame(arrays).assign(membership=words).to_csv(tmp_path / "mine.csv", index=False)
    _same(tmp_path / "mine.csv", arrays)


def test_other_columns_are_named(arrays, tmp_path):
    others = {"age": 1, "patient": 2, "predicted": 0, "label_text": "x"}
    _frame(arrays).rename(columns={"label": "target"}).assign(**others).to_csv(tmp_path / "mine.csv", index=False)
    found = _same(tmp_path / "mine.csv", arrays)
    assert {f"array {name!r} is not read." for name in ("age", "patient", "predicted")} <= set(found.warnings)


def test_tables_that_do_not_fit(arrays, tmp_path):
    frame = _with_shadows(arrays)
    cases = {
        "no columns of predictions": frame[["label", "membership"]],
        "'label' has 60 empty cells": frame.assign(label=None),
        "'probabilities_1' has 1 empty cells": frame.assign(probabilities_1=[None, *[0.5] * (N - 1)]),
        "11 columns of shadow_probabilities for 4 shadows of 3 classes": frame.drop(columns="shadow_probabilities_1_2"),
        "'prob_1' occurs twice": frame.assign(prob_1=0.5),
        "no array 'labels'": frame.drop(columns="label"),
    }
    for said, each in cases.items():
        each.to_csv(tmp_path / "mine.csv", index=False)
        with pytest.raises(DataError) as caught:
            audit_predictions(tmp_path / "mine.csv")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_is_no_table_at_all(arrays):
    with pytest.raises(DataError, match="a list is not a file, data frame or mapping"):
        audit_predictions([1, 2])
    with pytest.raises(DataError, match="a ndarray is not a file, data frame or mapping"):
        audit_predictions(arrays["probabilities"])


def test_files_of_other_kinds(arrays, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(DataError, match=r"give a \.npz, \.csv, \.tsv or \.parquet file"):
        audit_predictions(tmp_path / "mine.json")
    np.savez(tmp_path / "mine.npz", **arrays)
    (tmp_path / "mine.npz").rename(tmp_path / "mine.bin")
    assert len(audit_predictions(tmp_path / "mine.bin", attack="lira")) == 1
