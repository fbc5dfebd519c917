"""Imports: archives, tables and folders become checked data sets of the same bytes."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privbench.builtin.tasks.npz import Npz
from privbench.errors import BadOption, DataError
from privbench.external.columns import arrays_of
from privbench.external.imports import import_data
from privbench.external.reading import one_set
from privbench.options.fields import build


def write_folder(home, sizes=((8, 8),), mode="RGB", classes=("cat", "dog"), n=24):
    for k, name in enumerate(classes):
        (home / name).mkdir(parents=True)
        for i in range(n):
            colour = 100 * k + i
            image = Image.new(mode, sizes[i % len(sizes)], colour if mode == "L" else (colour,) * 3)
            image.save(home / name / f"{i:02d}.png")
        (home / name / "notes.txt").write_text("no image")
        (home / name / ".hidden.png").write_text("no image")


def write_table(path, labels=("yes", "no"), column="1.5"):
    rows = [f"{i % 39 + 18},{column},{labels[i % len(labels)]}" for i in range(40)]
    path.write_text("age,dose,outcome\n" + "\n".join(rows) + "\n")
    return path


def test_an_archive_has_its_classes_numbered_and_its_test_part_kept(root, tmp_path):
    x = np.arange(120, dtype=np.float64).reshape(40, 3)
    y = np.array([10, 30])[np.arange(40) % 2]
    np.savez(tmp_path / "my data.npz", x_train=x, y_train=y, x_test=x[:4] + 0.5, y_test=y[:4])
    made = import_data(tmp_path / "my data.npz")
    assert (made.spec, made.path) == ("my-data", root / "imported" / "my-data.npz")
    dataset = build(Npz, {"path": "my-data"}).load()
    assert dataset.fingerprint == made.dataset.fingerprint
    assert dataset.classes == 2
    assert dataset.role("test").y.tolist() == [0, 1, 0, 1]


def test_the_same_data_make_the_same_bytes(root, tmp_path):
    table = write_table(tmp_path / "t.csv")
    first = import_data(table, label="outcome").path.read_bytes()
    assert import_data(table, label="outcome", name="again").path.read_bytes() == first


def test_a_table_has_its_label_column_taken_out(root, tmp_path):
    made = import_data(write_table(tmp_path / "t.csv"), label="outcome")
    with np.load(made.path) as found:
        assert found["x_train"][:2].tolist() == [[18, 1.5], [19, 1.5]]
        assert found["y_train"][:2].tolist() == [1, 0]  # no, yes: in sorted order
    assert made.duplicates == 2
    assert made.labels == ("no", "yes")
    assert made.notes == made.warnings == ()


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_a_folder_of_images_by_class(root, tmp_path, mode, channels):
    write_folder(tmp_path / "pets", mode=mode)
    dataset = import_data(tmp_path / "pets").dataset
    assert (dataset.shape, dataset.classes, len(dataset.examples)) == ((channels, 8, 8), 2, 48)
    assert np.array_equal(dataset.examples.x[:, 0, 0, 0] >= 100, dataset.examples.y == 1)


def test_a_folder_with_train_and_test_and_a_size(root, tmp_path):
    write_folder(tmp_path / "pets" / "train", sizes=((8, 9), (20, 10)))
    write_folder(tmp_path / "pets" / "test", n=3)
    made = import_data(tmp_path / "pets", size=6, name="small", root=tmp_path / "else")
    assert (made.dataset.shape, len(made.dataset.rows("test"))) == ((3, 6, 6), 6)
    assert made.spec == str(tmp_path / "else" / "imported" / "small.npz")


def test_a_path_that_makes_no_name_takes_one(root, tmp_path):
    table = write_table(tmp_path / "日本.csv")
    with pytest.raises(BadOption, match=r"'日本\.csv' gives no valid name; give --name NAME: use letters, digits"):
        import_data(table, label="outcome")
    assert import_data(table, label="outcome", name="japan").spec == "japan"


def test_names_of_bytes_that_are_no_text(root, tmp_path):
    table = write_table(tmp_path / "caf\udce9, v2.csv")
    assert import_data(table, label="outcome").spec == "caf-v2"


def test_duplicates_are_counted(root, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(40)[:, None] // 2, y=np.arange(40) % 2)
    assert import_data(tmp_path / "d.npz").duplicates == 40


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"Which column holds the classes\? Give --label COLUMN. Columns: 'age', 'dose', 'outcome'"),
        ({"label": "outcom"}, r"t.csv has no column 'outcom'\. Did you mean 'outcome'\?"),
        ({"label": "outcome", "size": 8}, "--size is for folders of images"),
        ({"label": "outcome", "name": "../x"}, "--name '../x': use letters, digits"),
    ],
)
def test_options_that_do_not_fit_a_table_are_refused(root, tmp_path, given, message):
    with pytest.raises(BadOption, match=message):
        import_data(write_table(tmp_path / "t.csv"), **given)
    assert not (root / "imported").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"column": "high"}, "'dose' holds texts, such as 'high'; repair them, or encode them"),
        ({"column": ""}, "'dose' has empty cells; fill them, or leave those rows out"),
        ({"column": "inf"}, "40 of 40 inputs hold NaN or infinity"),
        ({"labels": ("yes", "")}, "'outcome' has empty cells"),
        ({"labels": ("yes",)}, "all 40 labels are the same class"),
    ],
)
def test_unfit_tables_are_refused_and_nothing_is_written(root, tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        import_data(write_table(tmp_path / "t.csv", **table), label="outcome")
    assert not (root / "imported").exists()


@pytest.mark.parametrize(("content", "message"), [("", "t.csv is empty"), ("a\n1\n2\n", "'a' is the only column")])
def test_tables_of_nothing_are_refused(root, tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        import_data(tmp_path / "t.csv", label="a")


def test_images_of_several_sizes_need_a_size(root, tmp_path):
    write_folder(tmp_path / "pets", sizes=((8, 8), (9, 9)))
    with pytest.raises(DataError, match=r"has 9x9 pixels, but .* has 8x8; resize them to one size; give --size 32"):
        import_data(tmp_path / "pets")


def test_an_unreadable_image_is_named(root, tmp_path):
    write_folder(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "03.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"pets: .*03.png is no readable image; .* remove it"):
        import_data(tmp_path / "pets")


def test_a_class_that_only_the_test_part_has_is_refused(root, tmp_path):
    write_folder(tmp_path / "pets" / "train")
    write_folder(tmp_path / "pets" / "test", classes=("cat", "emu"), n=2)
    with pytest.raises(DataError, match="pets: the test part has class emu, of which there is no training example"):
        import_data(tmp_path / "pets")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: path / "absent.npz", DataError, ".*There is no .*absent.npz; import a .npz file, a table"),
        (lambda path: path, DataError, "holds no images in subfolders; expected CLASS/image.png"),
        (lambda _path: Path(__file__), DataError, "Cannot import .*test_imports.py: expected a .npz file"),
    ],
)
def test_what_cannot_be_imported_is_refused(root, tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        import_data(make(tmp_path))


def test_a_label_is_for_tables_and_labels_are_one_per_example(root, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((9, 2)), y=np.zeros((9, 3)))
    with pytest.raises(BadOption, match=r"--label is for tables \(\.csv, \.tsv, \.txt, \.parquet\), but"):
        import_data(tmp_path / "a.npz", label="y")
    with pytest.raises(DataError, match=r"train labels are float64 of shape \(9, 3\)"):
        import_data(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((9, 2)), y=np.full(9, np.nan))
    with pytest.raises(DataError, match="some labels are NaN"):
        import_data(tmp_path / "a.npz")


def test_the_folder_one_stands_in_has_a_name_in_messages(root, tmp_path, monkeypatch):
    (tmp_path / "faces" / "cat").mkdir(parents=True)
    (tmp_path / "faces" / "cat" / "a.png").write_text("no image")
    monkeypatch.chdir(tmp_path / "faces")
    with pytest.raises(DataError, match=r"^faces: .*a\.png is no readable image"):
        import_data(Path())


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_no_image_outside_the_folder_is_read(root, tmp_path):
    write_folder(tmp_path / "faces")
    write_folder(tmp_path / "others")
    write_folder(tmp_path / "split" / "all")
    (tmp_path / "split" / "train").symlink_to(tmp_path / "split" / "all")
    assert import_data(tmp_path / "split").labels == ("cat", "dog")  # inside the folder
    (tmp_path / "faces" / "bird").symlink_to(tmp_path / "others" / "cat")
    with pytest.raises(DataError, match=r"bird is a link out of .*faces, which is not followed; put the files"):
        import_data(tmp_path / "faces")
    (tmp_path / "faces" / "bird").unlink()
    (tmp_path / "faces" / "cat" / "x.png").symlink_to(tmp_path / "others" / "cat" / "00.png")
    for read in (import_data, lambda path: one_set(path, "real")):
        with pytest.raises(DataError, match=r"x\.png is a link out of .*faces"):
            read(tmp_path / "faces")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
def test_pipes_devices_and_names_that_no_file_has_are_refused(root, tmp_path):
    for name in ("x.npz", "x.csv", "x.parquet", "x.npy", "x.png", "x"):
        os.mkfifo(tmp_path / name)
    names = ["x.npz", "x.csv", "x.parquet", "x.npy", "x.png", "x"]
    for path in (*(tmp_path / name for name in names), Path("/dev/zero"), tmp_path / ("x" * 999), Path("~nobody-x/a")):
        for read in (import_data, lambda path: one_set(path, "real"), arrays_of):
            with pytest.raises(DataError) as told:
                read(path)
            assert "\n" not in str(told.value)
