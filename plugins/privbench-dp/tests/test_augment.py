"""The recipe's augmentation: pixel by pixel, against torch's own padding."""

import numpy as np
import pytest
import torch
from privbench_dp.augment import augment, augmenting, draw
from torch.nn import functional

from privbench.api import Recipe
from privbench.errors import BadOption


def images(n=6, side=5, channels=2):
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, (n, channels, side, side), dtype=np.uint8))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def altered(x, recipe):
    return augment(x, recipe, draw(len(x), x.shape[1:], recipe, generator()))


def test_a_crop_is_a_window_of_the_reflected_image():
    x, crop = images(), 2
    padded = functional.pad(x.float(), (crop,) * 4, mode="reflect").byte()
    found = set()
    for image, whole in zip(altered(x, Recipe(crop=crop)), padded, strict=True):
        at = [(i, j) for i in range(5) for j in range(5) if torch.equal(image, whole[:, i : i + 5, j : j + 5])]
        assert len(at) == 1
        found |= set(at)
    assert len(found) > 1


def test_each_image_is_flipped_with_its_probability():
    x = images(400, 3, 1)
    assert torch.equal(altered(x, Recipe(flip=1.0)), x.flip(3))
    half = altered(x, Recipe(flip=0.5))
    flipped = (half == x.flip(3)).all(dim=(1, 2, 3))
    assert ((half == x).all(dim=(1, 2, 3)) | flipped).all()
    assert 150 < int(flipped.sum()) < 250


def test_cutout_zeroes_one_square():
    x = images(200)
    cut = altered(x, Recipe(cutout=2)) == 0
    assert (cut[:, 0] == cut[:, 1]).all()
    assert {int(count) for count in cut[:, 0].sum(dim=(1, 2))} <= {1, 2, 4}
    assert torch.equal(altered(x, Recipe(cutout=2))[~cut], x[~cut])


def test_examples_that_must_stay_stay():
    x = images()
    alter = augmenting(Recipe(flip=1.0), (2, 5, 5), torch.tensor([True, False] * 3))
    rows = torch.tensor([5, 0, 1])
    out = alter(x, rows, alter.draw(3, generator()))
    assert torch.equal(out, torch.stack([x[5], x[0].flip(2), x[1]]))
    alter = augmenting(Recipe(flip=1.0), (2, 5, 5), None)
    assert torch.equal(alter(x, rows, alter.draw(3, generator())), x[rows].flip(3))


def test_nothing_to_do_and_nothing_to_be_done():
    assert augmenting(Recipe(), (2, 5, 5), None) is None
    with pytest.raises(BadOption, match="tables"):
        augmenting(Recipe(flip=0.5), (9,), None)
    with pytest.raises(BadOption, match="5x5"):
        augmenting(Recipe(crop=5), (2, 5, 5), None)
