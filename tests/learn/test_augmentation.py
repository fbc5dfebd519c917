import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privbench.contracts.recipe import Recipe
from privbench.errors import BadOption
from privbench.learn import augmentation
from privbench.learn.augmentation import CUT_COLUMN, CUT_ROW, LEFT, MIRRORED, TOP, augment, draw, reflect, static
from privbench.learn.inference import to_inputs

FULL = Recipe(crop=3, flip=0.5, cutout=3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=5, height=7, width=6, channels=3, seed=0):
    shape = (n, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(seed=st.integers(0, 1000))
def test_neutral_draws_change_nothing(seed):
    inputs = to_inputs(images(6, seed=seed))
    where = torch.rand(6, generator=generator(seed)) < 0.5
    draws = augmentation.neutral(draw(6, inputs.shape[1:], FULL, generator(seed)), where, FULL)
    out = augment(inputs, torch.arange(6), draws, FULL)
    assert torch.equal(out[where], inputs[where])
    assert torch.equal(out[~where], augment(inputs, torch.arange(6)[~where], draws[~where], FULL))


def slowly(image, draws, recipe):
    """One image (height, width, channels), one operation after the other, as one would write it in NumPy."""
    height, width, _ = image.shape
    padding = ((recipe.crop, recipe.crop), (recipe.crop, recipe.crop), (0, 0))
    top, left = int(draws[TOP]), int(draws[LEFT])
    out = np.pad(image, padding, mode="reflect")[top : top + height, left : left + width].copy()
    if draws[MIRRORED]:
        out = out[:, ::-1].copy()
    for row in range(height):
        for column in range(width):
            row_in = 0 <= row - (int(draws[CUT_ROW]) - recipe.cutout // 2) < recipe.cutout
            column_in = 0 <= column - (int(draws[CUT_COLUMN]) - recipe.cutout // 2) < recipe.cutout
            if row_in and column_in:
                out[row, column] = 0
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(4, 9), st.integers(4, 9), st.sampled_from([1, 3])),
    recipe=st.builds(Recipe, crop=st.integers(0, 3), flip=st.sampled_from([0.0, 0.5, 1.0]), cutout=st.integers(0, 12)),
    layout=st.sampled_from(["channels last", "contiguous", "float"]),
)
def test_equals_the_slow_way(seed, shape, recipe, layout):
    x = images(5, *shape, seed=seed)
    inputs = to_inputs(x)
    if layout != "channels last":
        inputs = inputs.contiguous() if layout == "contiguous" else inputs.float()
    rows = torch.randint(5, (8,), generator=generator(seed))
    draws = draw(8, inputs.shape[1:], recipe, generator(seed))
    got = augment(inputs, rows, draws, recipe).permute(0, 2, 3, 1).numpy()
    want = np.stack([slowly(x[row], drawn, recipe) for row, drawn in zip(rows, draws, strict=True)])
    assert got.dtype == (np.float32 if layout == "float" else np.uint8)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("recipe", [Recipe(crop=4), Recipe(flip=0.5), Recipe(cutout=8)], ids=["crop", "flip", "cutout"])
def test_each_image_of_a_batch_has_parameters_of_its_own(recipe):
    inputs = to_inputs(images(1, 32, 32)).expand(64, -1, -1, -1)
    out = augment(inputs, torch.arange(64), draw(64, inputs.shape[1:], recipe, generator()), recipe)
    assert len(torch.unique(out.flatten(1), dim=0)) > 1


@pytest.mark.parametrize(("flip", "mirrored"), [(0.0, False), (1.0, True)])
def test_flips_never_or_always(flip, mirrored):
    inputs = to_inputs(images(50))
    recipe = Recipe(flip=flip, crop=0)
    out = augment(inputs, torch.arange(50), draw(50, inputs.shape[1:], recipe, generator()), recipe)
    assert torch.equal(out, inputs.flip(-1) if mirrored else inputs)


def test_parameters_cover_their_range_evenly():
    draws = draw(20_000, (3, 8, 6), Recipe(crop=2, flip=0.3), generator())
    for column, size in ((TOP, 5), (LEFT, 5), (CUT_ROW, 8), (CUT_COLUMN, 6)):
        share = torch.bincount(draws[:, column], minlength=size) / 20_000
        assert len(share) == size
        assert (share - 1 / size).abs().max() < 0.015
    assert draws[:, MIRRORED].float().mean().item() == pytest.approx(0.3, abs=0.015)


def test_switching_one_operation_off_leaves_the_others_as_they_are():
    one, other = (draw(9, (3, 8, 8), dataclasses.replace(FULL, cutout=c), generator()) for c in (0, 3))
    assert torch.equal(one, other)


@given(size=st.integers(2, 9), pad=st.integers(0, 8))
def test_reflection_is_numpys(size, pad):
    pad = min(pad, size - 1)
    got = reflect(torch.arange(-pad, size + pad), size).numpy()
    np.testing.assert_array_equal(got, np.pad(np.arange(size), pad, mode="reflect"))


def test_no_tensor_strays_from_the_device():
    inputs = to_inputs(images()).to("meta")
    draws = draw(5, inputs.shape[1:], FULL, generator()).to("meta")
    out = augment(inputs, torch.arange(5, device="meta"), draws, FULL)
    assert (out.device.type, out.shape, out.dtype) == ("meta", inputs.shape, torch.uint8)


def test_static_copies_are_each_originals_in_turn():
    inputs, recipe = to_inputs(images(1500, 5, 5, 1)), Recipe(copies=2, flip=0.5)
    out = static(inputs, recipe, generator())
    assert out.shape == (3000, 1, 5, 5)
    for copy in out.split(1500):
        same = (copy == inputs).flatten(1).all(1)
        mirrored = (copy == inputs.flip(-1)).flatten(1).all(1)
        assert bool((same | mirrored).all())
        assert 0.4 < same.float().mean() < 0.6
    assert not torch.equal(out[:1500], out[1500:])


@pytest.mark.parametrize(
    ("recipe", "shape", "message"),
    [
        (Recipe(copies=2), (3, 8, 8), "copies=2: copies are of augmented images, but crop, flip and cutout are all 0"),
        (Recipe(flip=0.5), (10,), "this task has tables"),
        (Recipe(crop=8), (3, 8, 9), "crop=8: images of 8x9 pixels can be padded by reflection by at most 7"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(recipe, shape, message):
    with pytest.raises(BadOption, match=message):
        augmentation.check(recipe, shape)


def test_a_plain_recipe_suits_all():
    augmentation.check(Recipe(), (10,))
    augmentation.check(Recipe(crop=7, flip=1.0, copies=3), (3, 8, 9))
