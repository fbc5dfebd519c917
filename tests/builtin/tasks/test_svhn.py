"""SVHN from MATLAB files."""

import numpy as np
import pytest

from privbench.builtin.tasks.svhn import Svhn
from privbench.errors import DataError
from privbench.options.fields import build


def test_images_come_one_by_one_and_the_class_10_is_the_digit_0(svhn):
    dataset = build(Svhn, {}).load()
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), 10)
    test = dataset.role("test")
    assert test.y.tolist() == [*range(1, 10), 0] * 2
    assert np.array_equal(
        test.x, np.arange(20, dtype=np.uint8)[:, None, None, None] + np.zeros((20, 32, 32, 3), np.uint8)
    )


def test_a_wrong_checksum_is_refused(svhn):
    with (svhn / "test_32x32.mat").open("ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match=r"svhn: .*test_32x32.mat has the wrong checksum; fetch it again"):
        build(Svhn, {}).load()


@pytest.mark.parametrize("content", [b"", b"no matlab" * 40])
def test_a_file_that_is_no_matlab_file_is_refused(svhn, monkeypatch, content):
    monkeypatch.setattr(Svhn, "checked", lambda _self, path, _md5: path)
    (svhn / "train_32x32.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"train_32x32.mat is no SVHN file"):
        build(Svhn, {}).load()


def test_both_files_are_downloaded(root, monkeypatch):
    from torchvision.datasets import utils

    asked = []
    monkeypatch.setattr(
        utils, "download_url", lambda url, _root, name, _md5: asked.append((url.rpartition("/")[2], name))
    )
    Svhn.download(root)
    assert asked == [("train_32x32.mat",) * 2, ("test_32x32.mat",) * 2]
