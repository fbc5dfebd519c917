"""MNIST from IDX files, packed or unpacked."""

import gzip

import numpy as np
import pytest

from privbench.builtin.tasks.mnist import FashionMnist, Mnist
from privbench.errors import DataError
from privbench.options.fields import build


def unpack(raw):
    for path in raw.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


def test_images_are_grey_bytes_and_the_official_test_part_is_the_test(mnist):
    dataset = build(Mnist, {}).load()
    assert (dataset.shape, dataset.classes, dataset.examples.x.dtype) == ((1, 28, 28), 10, np.uint8)
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [51, 6, 3, 20]
    assert dataset.role("test").y.tolist() == list(range(10)) * 2


def test_unpacked_files_serve_as_well_as_their_archives(mnist):
    packed = build(Mnist, {}).load().fingerprint
    unpack(mnist)
    assert build(Mnist, {}).load().fingerprint == packed


def test_a_wrong_checksum_is_refused(mnist):
    (mnist / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(
        DataError, match=r"^mnist: .*train-images.* has the wrong checksum; fetch it again with: privbench"
    ):
        build(Mnist, {}).load()


def test_an_archive_of_the_right_checksum_that_is_none_is_refused(mnist, monkeypatch):
    monkeypatch.setattr(Mnist, "checked", lambda _self, path, _md5: path)
    (mnist / "t10k-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match="is no gzip archive"):
        build(Mnist, {}).load()


@pytest.mark.parametrize("content", [b"", b"abc", bytes([0, 0, 8, 1, 0, 0, 0, 9, 1])])
def test_an_incomplete_unpacked_file_is_refused(mnist, content):
    unpack(mnist)
    (mnist / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is no complete IDX file; fetch it again"):
        build(Mnist, {}).load()


def test_more_labels_than_images_are_refused(mnist):
    unpack(mnist)
    (mnist / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 61]) + bytes(61))
    with pytest.raises(DataError, match="60 inputs, but 61 labels"):
        build(Mnist, {}).load()


def test_fashion_mnist_has_a_folder_of_its_own(mnist):
    with pytest.raises(DataError, match="fashion-mnist is not in"):
        build(FashionMnist, {}).load()


def test_the_second_mirror_is_asked_where_the_first_does_not_answer(root, monkeypatch):
    from torchvision.datasets import MNIST, utils

    asked = []

    def download(url, _raw, filename, md5):
        asked.append(url)
        if url.startswith("a:"):
            raise OSError("no route")

    monkeypatch.setattr(utils, "download_and_extract_archive", download)
    monkeypatch.setattr(MNIST, "mirrors", ["a:", "b:"])
    monkeypatch.setattr(MNIST, "resources", [("x.gz", "1"), ("y.gz", "2")])
    Mnist.download(root)
    assert asked == ["a:x.gz", "b:x.gz", "a:y.gz", "b:y.gz"]
    monkeypatch.setattr(MNIST, "mirrors", ["a:"])
    with pytest.raises(OSError, match="no route"):
        Mnist.download(root)
