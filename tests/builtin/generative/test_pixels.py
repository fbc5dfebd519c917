from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from privbench.builtin.generative import pixels
from privbench.data.dataset import Examples
from privbench.errors import BadOption
from privbench.learn.transfers import arrays_of, load_arrays


def task(*shape):
    return SimpleNamespace(task="photos", shape=shape)


@pytest.mark.parametrize(("side", "expected"), [(8, 8), (5, 8), (9, 32), (28, 32), (32, 32), (48, 64), (64, 64)])
def test_the_canvas_is_the_smallest_that_holds_the_image(side, expected):
    assert pixels.canvas(task(1, side, side), "fake-data") == expected
    assert pixels.canvas(task(3, side, min(side, 7)), "fake-data") == expected


def test_tables_and_large_images_are_refused():
    with pytest.raises(BadOption, match="'fake-data' generates images, but task 'photos' has 446-column tables"):
        pixels.canvas(task(446), "fake-data")
    with pytest.raises(BadOption, match="up to 64 pixels, not 65"):
        pixels.canvas(task(3, 65, 10), "fake-data")


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]), seed=st.integers(0, 2**32 - 1)
)
def test_there_and_back_is_the_identity(height, width, channels, seed):
    x = np.random.default_rng(seed).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    images = pixels.to_canvas(x, 32)
    assert images.shape == (2, channels, 32, 32)
    assert images.dtype == torch.float32
    assert float(images.abs().max()) <= 1
    assert np.array_equal(pixels.from_canvas(images, (channels, height, width)), x)


def test_padding_repeats_the_border():
    x = np.full((1, 2, 2, 1), 7, dtype=np.uint8)
    assert len(pixels.to_canvas(x, 8).unique()) == 1


def test_float_images_are_scaled_alike():
    x = np.array([[[[0.0]], [[1.0]]]], dtype=np.float32)
    images = pixels.to_canvas(x, 8)
    assert {images.min().item(), images.max().item()} == {-1.0, 1.0}
    assert pixels.from_canvas(images, (1, 2, 1)).ravel().tolist() == [0, 255]
    assert pixels.as_dtype(np.array([0, 255], np.uint8), np.float32).tolist() == [0.0, 1.0]
    assert pixels.as_dtype(np.array([3], np.uint8), np.uint8).dtype == np.uint8


def test_what_leaves_the_range_is_clipped():
    assert pixels.from_canvas(torch.tensor([-3.0, 3.0]).view(2, 1, 1, 1), (1, 1, 1)).ravel().tolist() == [0, 255]


def test_weights_travel_as_arrays():
    source, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    source.weight.data.fill_(3)
    arrays = {**arrays_of(source, "g/"), **arrays_of(nn.Linear(1, 1), "d/")}
    loaded = load_arrays(other, arrays, "g/")
    assert loaded.weight.tolist() == [3, 3]
    assert not loaded.training


def test_a_grid_is_the_first_images_of_each_class_and_black_where_there_is_none():
    x = np.arange(1, 5, dtype=np.uint8).reshape(4, 1, 1, 1)
    made = pixels.grid(Examples(x, np.array([1, 0, 1, 1])), classes=3, columns=2)
    assert made.reshape(3, 2).tolist() == [[2, 0], [1, 3], [0, 0]]
    floats = pixels.grid(Examples(np.full((1, 1, 1, 1), 0.5, np.float32), np.array([0])), classes=1, columns=1)
    assert (floats.dtype, floats.item()) == (np.uint8, 128)
