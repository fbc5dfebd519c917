"""CelebA: crops, attributes, official parts."""

import numpy as np
import pytest

from privbench.builtin.tasks.celeba import CelebA
from privbench.errors import BadOption, DataError
from privbench.options.fields import build


def test_faces_are_cropped_to_128_and_resized_to_48(celeba):
    dataset = build(CelebA, {}).load()
    assert (dataset.shape, dataset.classes) == ((3, 48, 48), 2)
    middle = dataset.role("test").x.reshape(20, -1).astype(int)
    assert (np.ptp(middle, axis=1) <= 4).all()  # nothing of the white border is left
    assert np.abs(middle.mean(axis=1) - 3 * np.arange(40, 60)).max() <= 2


def test_training_and_validation_parts_are_joined_and_the_test_part_is_the_test(celeba):
    dataset = build(CelebA, {}).load()
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [34, 4, 2, 20]


def test_the_attribute_is_the_label(celeba):
    smiling, young = (build(CelebA, {"attribute": name}).load().role("test").y for name in ("Smiling", "Young"))
    assert smiling.tolist() == [0, 1] * 10
    assert young.tolist() == [int(i % 3 > 0) for i in range(40, 60)]


def test_an_unknown_attribute_is_answered_with_the_nearest(celeba):
    with pytest.raises(BadOption, match=r"no attribute 'Smile'. Did you mean 'Smiling'\? Attributes: Smiling, Young"):
        build(CelebA, {"attribute": "Smile"}).load()


def test_only_the_images_that_are_used_are_opened(celeba):
    for path in sorted((celeba / "img_align_celeba").iterdir())[:40]:
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"celeba: .*\.jpg is no readable image"):
        build(CelebA, {"limit": 20}).load()
    assert len(build(CelebA, {"limit": 20}).source().test.x[np.arange(20)]) == 20


def test_a_wrong_checksum_is_refused(celeba):
    (celeba / "list_attr_celeba.txt").write_text("changed")
    with pytest.raises(DataError, match=r"list_attr_celeba.txt has the wrong checksum"):
        build(CelebA, {}).load()


def test_torchvision_downloads_it(root, monkeypatch):
    import torchvision.datasets

    asked = []
    monkeypatch.setattr(torchvision.datasets, "CelebA", lambda *where, **how: asked.append((where, how)))
    CelebA.download(root)
    assert asked == [((str(root),), {"split": "all", "download": True})]
