"""CIFAR from its published pickles, which are read but never obeyed."""

import os
import pickle

import pytest

from privbench.builtin.tasks.cifar import Cifar10, Cifar100
from privbench.errors import DataError
from privbench.options.fields import build


class Evil:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def replace(cifar, content, monkeypatch):
    """Put other content in place, with its checksum, as one who broke the checksum could."""
    monkeypatch.setattr(Cifar10, "checked", lambda _self, path, _md5: path)
    (cifar / "data_batch_3").write_bytes(content)


def test_batches_are_joined_with_channels_last(cifar):
    dataset = build(Cifar10, {}).load()
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), 10)
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [85, 10, 5, 20]
    assert dataset.examples.x[:, 1, 1].tolist() == [[0, 1, 2]] * 120
    assert sorted(set(dataset.examples.x[:100, 0, 0, 0])) == [0, 1, 2, 3, 4]
    assert dataset.role("test").y.tolist() == list(range(10)) * 2


def test_cifar100_takes_the_fine_labels_of_its_own_files(root, monkeypatch):
    from torchvision.datasets import CIFAR100

    from .conftest import write_cifar

    monkeypatch.setattr(CIFAR100, "train_list", write_cifar(root / "cifar-100-python", ["train"], "fine_labels"))
    monkeypatch.setattr(CIFAR100, "test_list", write_cifar(root / "cifar-100-python", ["test"], "fine_labels"))
    source = build(Cifar100, {}).source()
    assert (source.classes, len(source.train.y), len(source.test.y)) == (100, 20, 20)
    with pytest.raises(DataError, match=r"cifar100: 20 examples for 100 classes"):
        build(Cifar100, {}).load()


def test_a_wrong_checksum_is_refused_before_the_file_is_opened(cifar, tmp_path):
    (cifar / "data_batch_3").write_bytes(pickle.dumps(Evil(str(tmp_path / "evil"))))
    with pytest.raises(
        DataError, match=r"cifar10: .*data_batch_3 has the wrong checksum; fetch it again with: privbench"
    ):
        build(Cifar10, {}).load()
    assert not (tmp_path / "evil").exists()


def test_a_malicious_pickle_is_refused_even_with_the_right_checksum(cifar, tmp_path, monkeypatch):
    replace(cifar, pickle.dumps({"data": Evil(str(tmp_path / "evil")), "labels": []}), monkeypatch)
    with pytest.raises(
        DataError, match=r"data_batch_3 is refused, for it is no plain data: it asks for (posix|nt)\.mkdir"
    ):
        build(Cifar10, {}).load()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps([1]), pickle.dumps({"data": 1, "labels": [0]})])
def test_a_pickle_of_something_else_is_refused(cifar, monkeypatch, content):
    replace(cifar, content, monkeypatch)
    with pytest.raises(DataError, match=r"data_batch_3 is no CIFAR file"):
        build(Cifar10, {}).load()


def test_the_default_is_the_published_recipe():
    assert build(Cifar100, {}) == build(Cifar100, {"preset": "uai24"})
    assert build(Cifar100, {"preset": "uai24-resnet18"}).recipe.epochs == 100


def test_the_archive_is_downloaded_with_its_checksum(root, monkeypatch):
    from torchvision.datasets import utils

    asked = []
    monkeypatch.setattr(utils, "download_and_extract_archive", lambda *where, **what: asked.append((*where, what)))
    Cifar100.download(root)
    assert asked[0][0].endswith("cifar-100-python.tar.gz")
    assert asked[0][2]["md5"] == "eb9058c3a382ffc7106e4002c42a8d85"
