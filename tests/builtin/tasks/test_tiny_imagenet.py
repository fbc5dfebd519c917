"""Tiny-ImageNet from its folder."""

import pytest

from privbench.builtin.tasks.tiny_imagenet import TinyImageNet
from privbench.errors import DataError
from privbench.options.fields import build


def test_folders_are_classes_and_the_annotated_val_part_is_the_test(tiny):
    dataset = build(TinyImageNet, {}).load()
    assert (dataset.shape, dataset.classes) == ((3, 64, 64), 3)
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [26, 2, 2, 12]
    red = dataset.examples.x[:, 32, 32, 0].astype(int)
    assert abs(red - 80 * dataset.examples.y).max() <= 3


def test_a_missing_folder_says_where_to_get_it(root):
    with pytest.raises(
        DataError, match=r"^tiny-imagenet is not in .*; download tiny-imagenet-200.zip from .* unpack it in "
    ):
        build(TinyImageNet, {}).load()


def test_a_class_that_has_no_training_folder_is_refused(tiny):
    (tiny / "val" / "val_annotations.txt").write_text("val_0_0.JPEG\tn99\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"gives val_0_0.JPEG the class 'n99', which train/ does not have"):
        build(TinyImageNet, {}).load()


def test_a_missing_image_is_named(tiny):
    (tiny / "val" / "images" / "val_1_1.JPEG").unlink()
    with pytest.raises(DataError, match=r"val_1_1.JPEG is missing; put it there again"):
        build(TinyImageNet, {}).load()
