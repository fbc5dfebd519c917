import numpy as np
import pytest
from PIL import Image

from privbench.data.dataset import Examples
from privbench.errors import DataError
from privbench.external.sets import sets


@pytest.fixture
def images():
    rng = np.random.default_rng(0)

    def some(n):
        return rng.integers(0, 256, (n, 6, 5, 1), dtype=np.uint8)

    return some


def test_who_plays_which_part(images):
    found = sets(images(10), images(7), images(31), 0)
    assert len(found.outside) == 10
    assert len(found.reference) == 21
    assert sorted([*found.outside, *found.reference]) == list(range(31))
    assert "Members are all 10 real examples, non-members 10 of 31 held-out ones; the other 21" in found.notes[-1]
    assert found.warnings == ()


def test_of_many_real_examples_all_are_members(images):
    real, synthetic, holdout = images(50), images(7), images(11)
    found = sets(real, synthetic, holdout, 0)
    assert (len(found.real), len(found.outside), len(found.reference)) == (50, 5, 6)
    assert "Members are all 50 real examples, non-members 5 of 11" in found.notes[-1]
    assert sets(real, synthetic, holdout, 1).outside.tolist() != found.outside.tolist()
    assert sets(real, synthetic, holdout, 1).fingerprint != found.fingerprint
    assert sets(real, synthetic, holdout, 0).fingerprint == found.fingerprint


def test_however_they_are_given(images, tmp_path):
    real, synthetic, holdout = images(4), images(4), images(8)
    y = np.arange(4) % 2
    expected = sets(real, synthetic, holdout, 0).fingerprint
    np.savez(tmp_path / "a.npz", X_train=real)
    np.savez(tmp_path / "b.npz", samples=synthetic[..., 0])
    np.save(tmp_path / "c.npy", holdout)
    assert sets(tmp_path / "a.npz", str(tmp_path / "b.npz"), tmp_path / "c.npy", 0).fingerprint == expected
    assert sets({"data": real}, {"images": synthetic}, {"x": holdout}, 0).fingerprint == expected
    assert sets(Examples(real, y), {"x": synthetic, "y": y}, holdout, 0).fingerprint == expected


def test_labels_are_seen_where_all_have_them(images):
    y = np.arange(4) % 2
    labelled = {"x": images(4), "y": y}
    both = sets(labelled, {"x": images(4), "labels": y}, {"x": images(8), "y": np.arange(8)}, 0)
    assert both.holdout.y.tolist() == list(range(8))
    some = sets(labelled, images(4), {"x": images(8), "y": np.arange(8)}, 0)
    assert some.real.y.tolist() == [0] * 4
    assert some.labels.tolist() == y.tolist()
    assert "Attacks see no labels: the synthetic examples have none." in some.notes
    none = sets(images(4), images(4), images(8), 0)
    assert none.labels is None
    assert len(none.notes) == 1


def test_tables(images):
    rng = np.random.default_rng(1)
    found = sets(rng.normal(size=(5, 3)), rng.normal(size=(6, 3)), rng.normal(size=(8, 3)), 0)
    assert not found.is_image
    assert found.real.x.dtype == np.float32


def test_folders(images, tmp_path):
    for name, count in (("real", 4), ("made", 5), ("held", 8)):
        (tmp_path / name / "sub").mkdir(parents=True)
        for number, image in enumerate(images(count)):
            Image.fromarray(image[..., 0]).save(tmp_path / name / ("sub" if number % 2 else ".") / f"{number}.png")
    (tmp_path / "real" / "notes.txt").write_text("no image")
    found = sets(tmp_path / "real", tmp_path / "made", tmp_path / "held", 0)
    assert found.real.x.shape == (4, 6, 5, 1)
    assert (len(found.synthetic), len(found.holdout)) == (5, 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        sets(tmp_path / "empty", tmp_path / "made", tmp_path / "held", 0)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(tmp_path / "made" / "colour.png")
    assert sets(tmp_path / "made", tmp_path / "made", tmp_path / "made", 0).real.x.shape == (6, 6, 5, 3)


def test_what_is_held_out_and_real_is_warned_of(images):
    real, holdout = images(10), images(12)
    holdout[3:6] = real[0]
    (warning,) = sets(real, images(3), holdout, 0).warnings
    assert warning.startswith("3 of 12 held-out examples are among the real ones")


def test_exact_copies_are_said(images):
    real, synthetic, holdout = images(10), images(20), images(12)
    synthetic[:2] = real[4]
    synthetic[2] = real[5]
    synthetic[3] = holdout[0]
    note = sets(real, synthetic, holdout, 0).notes[0]
    assert note.startswith("2 of 10 real examples are published bit for bit")
    assert "(of 12 held-out examples: 1)" in note


def _table(n=8, width=3):
    return np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)


BAD = {
    "shapes": (_table(), _table(width=4), _table(), "synthetic has inputs of shape (4,), real of (3,)"),
    "types": (
        np.zeros((4, 5, 5), np.uint8),
        np.zeros((4, 5, 5), np.float32),
        np.zeros((8, 5, 5), np.uint8),
        "synthetic is float32, real is uint8; save both alike",
    ),
    "name": ({"z": _table()}, _table(), _table(), "real: no array 'x'"),
    "text": ({"x": np.full((4, 4), "a")}, _table(), _table(), "real: x is <U1; inputs must be numbers"),
    "channels": (*[np.zeros((4, 3, 9, 9), np.uint8)] * 3, "Channels come last"),
    "empty": (_table(), _table()[:0], _table(), "synthetic: x has shape (0, 3)"),
    "NaN": (_table(), np.full((4, 3), np.nan), _table(), "4 of 4 inputs hold NaN"),
    "labels": (
        {"x": _table(), "y": [1, 2]},
        _table(),
        _table(),
        "real: 8 examples, y (2,); give one class from 0 per example",
    ),
    "few": (_table(), _table(), _table(3), "8 real and 3 held-out examples"),
    "no file": ("nowhere.npz", _table(), _table(), "nowhere.npz: no such file"),
    "no array": ("nowhere.npy", _table(), _table(), "nowhere.npy: no such file"),
}


@pytest.mark.parametrize(("real", "synthetic", "holdout", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit(real, synthetic, holdout, said):
    with pytest.raises(DataError) as caught:
        sets(real, synthetic, holdout, 0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match="pickled"):
        sets(tmp_path / "objects.npy", _table(), _table(), 0)
