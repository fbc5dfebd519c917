"""Anyone's arrays: what is accepted, and what is refused with a line that says what to do."""

import numpy as np
import pytest

from privbench.builtin.tasks.npz import Npz
from privbench.errors import DataError, UnknownName
from privbench.options.fields import build, options_of, spec
from privbench.plugins.loading import resolve

RNG = np.random.default_rng(0)
Y = np.arange(40) % 4
IMAGES = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
TABLE = RNG.normal(size=(40, 7))


@pytest.fixture
def load(tmp_path):
    """Save arrays, and load them as a task does."""

    def load(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return build(Npz, {"path": str(tmp_path / "mine.npz")}).load()

    return load


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (IMAGES, (1, 6, 5), np.uint8),
        (IMAGES[..., None], (1, 6, 5), np.uint8),
        (np.stack([IMAGES] * 3, -1), (3, 6, 5), np.uint8),
        (IMAGES.astype(np.int64), (1, 6, 5), np.uint8),
        (IMAGES / 255, (1, 6, 5), np.float32),
        (TABLE, (7,), np.float32),
        (TABLE > 0, (7,), np.float32),
        (np.rint(TABLE * 9).astype(np.int16), (7,), np.float32),
        (IMAGES.reshape(40, 30), (30,), np.float32),
    ],
)
def test_images_and_tables_of_the_usual_types_are_taken(load, x, shape, dtype):
    dataset = load(x_train=x, y_train=Y, x_test=x[:8], y_test=Y[:8])
    assert (dataset.name, dataset.shape, dataset.classes, dataset.examples.x.dtype) == ("mine", shape, 4, dtype)
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [34, 4, 2, 8]
    expected = np.asarray(x[:8], dtype)
    assert np.array_equal(dataset.role("test").x, expected[..., None] if expected.ndim == 3 else expected)


@pytest.mark.parametrize("y", [Y.astype(np.uint8), Y.astype(np.float64), Y[:, None], Y.astype(">i2")])
def test_labels_of_any_whole_numbers_are_taken(load, y):
    dataset = load(x=TABLE, y=y)
    assert dataset.examples.y.dtype == np.int64
    assert len(dataset.rows("test")) == 6
    assert np.array_equal(np.bincount(dataset.examples.y), [10, 10, 10, 10])


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("X_train", "y_train", "X_test", "y_test"),
     ("train_images", "train_labels", "test_images", "test_labels")],
)  # fmt: skip
def test_parts_are_known_by_their_usual_names(load, names):
    dataset = load(**dict(zip(names, (TABLE, Y, TABLE[:9], Y[:9]), strict=True)))
    assert len(dataset.rows("test")) == 9


@pytest.mark.parametrize(
    "names", [("x", "y"), ("X", "y"), ("data", "labels"), ("images", "labels"), ("x_train", "y_train")]
)
def test_a_file_without_a_test_part_has_one_cut_off(load, names):
    assert len(load(**dict(zip(names, (TABLE, Y), strict=True))).rows("test")) == 6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": TABLE, "b": Y}, r"expected the arrays x_train, y_train .*, or x, y; found: a, b\."),
        ({"x": TABLE, "y": Y[:39]}, r"x has shape \(40, 7\), but y has shape \(39,\); each input needs one label"),
        ({"x": TABLE, "y": 3}, "each input needs one label"),
        ({"x_train": TABLE, "y_train": Y, "x_test": TABLE[:0], "y_test": Y[:0]}, "x_test and y_test are empty"),
        ({"x": TABLE[:, 0], "y": Y}, r"x has shape \(40,\); expected \(n, height, width\[, 1 or 3\]\)"),
        ({"x": np.zeros((40, 3, 8, 8)), "y": Y}, r"Channels come last: x\.transpose\(0, 2, 3, 1\)"),
        ({"x": np.zeros((40, 8, 8, 4)), "y": Y}, r"x has shape \(40, 8, 8, 4\)"),
        ({"x": IMAGES * 1.0, "y": Y}, r"float images must lie in \[0, 1\], but x runs from 0 to 255; scale it"),
        ({"x": IMAGES - 300.0, "y": Y}, "float images must lie in"),
        ({"x": IMAGES.astype(np.int32) * 2, "y": Y}, r"x is int32 from 0 to 5\d\d; images are uint8"),
        ({"x": IMAGES > 9, "y": Y}, "x is bool from False to True; images are uint8"),
        ({"x": TABLE.astype(str), "y": Y}, "x is <U32; inputs must be numbers"),
        ({"x": TABLE.astype(complex), "y": Y}, "x is complex128; inputs must be numbers"),
        ({"x": np.where(IMAGES.max() == IMAGES, np.nan, 0.5), "y": Y}, "inputs hold NaN or infinity; remove or repair"),
        ({"x": np.where(TABLE > 1, np.inf, TABLE), "y": Y}, "inputs hold NaN or infinity"),
        ({"x": TABLE * 1e300, "y": Y}, r"x, column 0, runs from .*e\+300, numbers that float32 does not hold or tell"),
        (
            {"x": 1_700_000_000 + np.arange(40)[:, None], "y": Y},
            r"x, column 0, runs from 1700000000 to 1700000039, numbers that float32 .*; subtract the least one",
        ),
        ({"x": TABLE, "y": Y + 0.5}, "y is float64 and no whole numbers; number the classes 0 to classes - 1"),
        ({"x": TABLE, "y": np.where(Y, Y, np.nan)}, "no whole numbers"),
        (
            {"x": TABLE, "y": Y.astype(str)},
            "y holds texts and no whole numbers; number .* as `privbench data import` does",
        ),
        ({"x": TABLE, "y": np.eye(4)[Y]}, r"y has shape \(40, 4\); expected one class number per example"),
        ({"x": TABLE, "y": Y - 1}, "labels run from -1 to 2, but must lie in 0 to 2"),
        ({"x": TABLE, "y": Y + 1}, "run from 1 to 4, but no training example is of class 0; number the classes 0 to 3"),
        (
            {"x": TABLE, "y": np.where(np.arange(40) == 5, 255, Y)},
            "from 0 to 255, but no training example is of class 4",
        ),
        ({"x_train": TABLE, "y_train": Y, "x_test": TABLE, "y_test": Y + 1}, "run from 0 to 4, but must lie in 0 to 3"),
        ({"x": TABLE, "y": Y * 0}, "all 40 labels are the same class; classification needs at least two"),
        ({"x": TABLE[:3], "y": Y[:3]}, "examples leave none for"),
        (
            {"x_train": IMAGES, "y_train": Y, "x_test": IMAGES[:, :4], "y_test": Y},
            r"different shapes, \(6, 5, 1\) and \(4,",
        ),
        ({"x_train": IMAGES, "y_train": Y, "x_test": IMAGES / 255, "y_test": Y}, "different types, uint8 and float32"),
        ({"x": np.array([{}] * 40), "y": Y}, "holds pickled objects, which are never loaded"),
    ],
)
def test_unfit_arrays_are_refused_in_one_line_that_says_what_to_do(load, arrays, message):
    with pytest.raises(DataError, match=message) as caught:
        load(**arrays)
    assert str(caught.value).startswith("mine: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no readable .npz file"),
        (b"PK\x03\x04 nothing more", "no readable .npz file; write it again with numpy.savez"),
        (b"\x80\x04]\x94.", "holds pickled objects, which are never loaded"),
        ("text", "holds pickled objects, which are never loaded, or no arrays"),
    ],
)
def test_files_that_are_no_archives_are_refused(tmp_path, content, message):
    path = tmp_path / "mine.npz"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        build(Npz, {"path": str(path)}).load()


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=TABLE, y=Y)
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"no readable .npz file"):
        build(Npz, {"path": str(path)}).load()


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "mine.npy", TABLE)
    with pytest.raises(DataError, match=r"is a single array; save two, with numpy.savez\(file, x=inputs, y=labels\)"):
        build(Npz, {"path": str(tmp_path / "mine.npy")}).load()


def test_a_bare_name_is_that_of_an_imported_data_set(root):
    (root / "imported").mkdir(parents=True)
    np.savez(root / "imported" / "faces.npz", x=TABLE, y=Y)
    assert build(Npz, {"path": "faces"}).load().name == "faces"
    with pytest.raises(DataError, match=r"no data set 'facs' in .*imported\. Did you mean 'faces'\? Imported: faces\."):
        build(Npz, {"path": "facs"}).load()


def test_without_imports_the_command_that_imports_is_named(root):
    with pytest.raises(DataError, match="Import one with: privbench data import PATH"):
        build(Npz, {"path": "faces"}).load()


def test_a_missing_file_is_named():
    with pytest.raises(DataError, match=r"npz: no file nowhere/mine.npz; give the path of a .npz file"):
        build(Npz, {"path": "nowhere/mine.npz"}).load()


def test_tables_and_folders_are_to_be_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "pets").mkdir()
    for path, command in (("my data.csv", "'my data.csv' --label COLUMN"), ("./pets", "pets")):
        with pytest.raises(DataError, match=rf"is no .npz file\. Import it first: privbench data import {command}\."):
            build(Npz, {"path": path}).load()


def test_a_task_of_that_name_may_be_meant_as_data(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (root / "imported").mkdir(parents=True)
    np.savez(root / "imported" / "patients.npz", x=TABLE, y=Y)
    np.savez(tmp_path / "mine.npz", x=TABLE, y=Y)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    hints = {
        "patients": "Imported data go by npz:path=patients.",
        "patents": "Did you mean 'npz:path=patients'?",
        "mine.npz": "A file goes by npz:path=mine.npz.",
        "t.csv": "Import it first: privbench data import t.csv --label COLUMN.",
        "digit": "Did you mean 'digits'?",
    }
    for name, hint in hints.items():
        with pytest.raises(UnknownName) as caught:
            resolve("task", name)
        assert f"No task named {name!r}. {hint} Installed: " in str(caught.value)


def test_the_path_shapes_no_result_for_the_content_is_what_counts():
    task = build(Npz, {"path": "a.npz"})
    assert "path" not in options_of(task, keyed_only=True)
    assert spec(task) == "npz:path=a.npz"
