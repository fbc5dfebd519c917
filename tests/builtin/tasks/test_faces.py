"""Faces come from a file or a folder, in their own size or another; and what is no face picture is refused."""

import numpy as np
import pytest
from PIL import Image

from privbench.builtin.tasks.faces import Faces
from privbench.errors import DataError
from privbench.options.fields import build
from privbench.plugins.loading import resolve

PEOPLE = 4


def pictures(n=48, size=(12, 10)):
    rng, y = np.random.default_rng(0), np.arange(n) % PEOPLE
    base = rng.integers(0, 200, (PEOPLE, *size))
    return (base[y] + rng.integers(0, 50, (n, *size))).astype(np.uint8), y


def faces(path, **options):
    return build(Faces, {"path": str(path), **options})


@pytest.fixture
def file(tmp_path):
    x, y = pictures()
    np.savez(tmp_path / "album.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return tmp_path / "album.npz"


@pytest.fixture
def album(tmp_path):
    x, y = pictures()
    for i, (image, person) in enumerate(zip(x, y, strict=True)):
        home = tmp_path / "album" / ("test" if i >= 40 else "train") / f"person {person}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / f"{i}.png")
    return tmp_path / "album"


def test_a_file_and_a_folder_of_the_same_pictures_are_the_same(file, album):
    one, other = faces(file).load(), faces(album).load()
    for role in ("pool", "reference", "validation", "test"):
        np.testing.assert_array_equal(np.sort(one.role(role).y), np.sort(other.role(role).y))
    assert sorted(map(bytes, one.examples.x)) == sorted(map(bytes, other.examples.x))
    assert (one.shape, one.classes, other.name) == ((1, 12, 10), PEOPLE, "album")


@pytest.mark.parametrize("source", ["file", "album"])
def test_they_are_resized_to_squares(source, request):
    dataset = faces(request.getfixturevalue(source), size=8).load()
    assert dataset.shape == (1, 8, 8)
    assert dataset.examples.x.dtype == np.uint8


def test_resized_pictures_keep_shades_channels_and_dtype(tmp_path):
    x = np.full((40, 9, 9, 3), (0.2, 0.5, 0.9), dtype=np.float32)
    np.savez(tmp_path / "colour.npz", x=x, y=np.arange(40) % 2)
    small = faces(tmp_path / "colour.npz", size=8).load().examples.x
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (40, 8, 8, 3)), atol=1e-6)


def test_the_model_is_the_mlp_that_the_paper_inverts(file):
    task = faces(file)
    sizes = [
        tuple(weight.shape)
        for name, weight in task.network((1, 12, 10), PEOPLE).state_dict().items()
        if "weight" in name
    ]
    assert sizes == [(1000, 120), (300, 1000), (PEOPLE, 300)]
    assert task.depicts == "faces"
    assert resolve("task", f"faces:path={file},hidden=8").hidden == (8,)


def test_a_folder_of_several_sizes_asks_for_one(album):
    Image.new("L", (30, 20)).save(album / "train" / "person 0" / "large.png")
    with pytest.raises(DataError, match=r"resize them to one size; give size=64, for example\.$"):
        faces(album).load()
    assert faces(album, size=8).load().shape == (1, 8, 8)


def test_what_is_no_picture_of_faces_is_refused(tmp_path):
    np.savez(tmp_path / "table.npz", x=np.zeros((40, 7)), y=np.arange(40) % 2)
    with pytest.raises(DataError, match=r"^faces: table is a table; give images"):
        faces(tmp_path / "table.npz").load()
    with pytest.raises(DataError, match=r"^faces: no file .*nothing\.npz"):
        faces(tmp_path / "nothing.npz").load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images in subfolders"):
        faces(tmp_path / "empty").load()
