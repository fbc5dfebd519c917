"""The default task."""

import numpy as np

from privbench.options import build
from privbench.tasks.digits import Digits


def test_digits_are_grey_images_over_the_whole_range_of_a_byte():
    dataset = build(Digits, {}).load()
    assert (dataset.shape, dataset.classes, dataset.examples.x.dtype) == ((1, 8, 8), 10, np.uint8)
    assert (dataset.examples.x.min(), dataset.examples.x.max()) == (0, 255)
    assert len(dataset.examples) == 1797


def test_digits_have_a_pool_of_1298_of_every_class():
    dataset = build(Digits, {}).load()
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [1298, 153, 76, 270]
    assert np.bincount(dataset.role("pool").y).min() >= 125
