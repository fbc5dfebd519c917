"""The default task."""

import importlib.util
import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits

from privbench.builtin.tasks.digits import Digits
from privbench.options.fields import build


def test_digits_are_grey_images_over_the_whole_range_of_a_byte():
    dataset = build(Digits, {}).load()
    assert (dataset.shape, dataset.classes, dataset.examples.x.dtype) == ((1, 8, 8), 10, np.uint8)
    assert (dataset.examples.x.min(), dataset.examples.x.max()) == (0, 255)
    assert len(dataset.examples) == 1797


def test_digits_have_a_pool_of_1298_of_every_class():
    dataset = build(Digits, {}).load()
    assert [len(dataset.rows(role)) for role in ("pool", "reference", "validation", "test")] == [1298, 153, 76, 270]
    assert np.bincount(dataset.role("pool").y).min() >= 125


def test_digits_are_scikit_learns():
    x, y = load_digits(return_X_y=True)
    part = build(Digits, {}).source().train
    np.testing.assert_array_equal(part.x.reshape(len(x), -1), np.rint(x * (255 / 16)))
    np.testing.assert_array_equal(part.y, y)


def test_digits_are_found_where_scikit_learn_keeps_them_elsewhere(monkeypatch):
    before = build(Digits, {}).load().fingerprint
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert build(Digits, {}).load().fingerprint == before


def test_digits_are_read_without_the_import_of_scikit_learn():
    code = "import sys, privbench.builtin.tasks.digits as d; d.Digits().load(); print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
