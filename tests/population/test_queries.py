import numpy as np
import pytest
import torch
from torch import nn

from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.errors import BadOption
from privbench.learn.inference import predict, to_inputs
from privbench.population.queries import ask, queries_for, variants


class Pixels(nn.Module):
    """Answers with the pixels themselves, so that a query's view can be read from its logits."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def images(n=5, height=6, width=7, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("queries", [1, 2, 18, 162])
def test_variants_are_distinct_nested_and_begin_as_is(queries):
    shifts = variants(queries)
    assert len(set(shifts)) == len(shifts) == queries
    assert shifts == variants(162)[:queries]
    assert shifts[:2] == [(0, 0, False), (0, 0, True)][:queries]


@pytest.mark.parametrize(("queries", "reach"), [(18, 1), (162, 4)])
def test_all_shifts_of_both_orientations_are_asked(queries, reach):
    steps = range(-reach, reach + 1)
    assert set(variants(queries)) == {(down, right, m) for down in steps for right in steps for m in (False, True)}


@pytest.mark.parametrize("queries", [1, 2, 18, 162])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_query_sees_the_image_shifted_and_mirrored(queries, dtype):
    x = images()
    floats = x.astype(np.float32) / np.float32(255)
    answers = ask(Pixels(), floats if dtype == np.float32 else x, queries, device="cpu", batch=2)
    assert (answers.shape, answers.dtype) == ((5, queries, 6 * 7 * 3), np.float32)
    padded = np.pad(floats, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    for index, (down, right, mirrored) in enumerate(variants(queries)):
        view = padded[:, 4 + down : 10 + down, 4 + right : 11 + right]
        np.testing.assert_array_equal(answers[:, index].reshape(x.shape), view[:, :, ::-1] if mirrored else view)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_first_query_is_predicts_bit_for_bit(name, channels):
    torch.manual_seed(0)
    model, x = build(name, (channels, 8, 8), 4), images(300, 8, 8, channels)
    for batch in ({}, {"batch": 16}):
        asked = ask(model, x, 18, device="cpu", **batch)[:, 0]
        np.testing.assert_array_equal(asked, predict(model, x, device="cpu", **batch))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_answers_to_fewer_queries_are_the_first_of_those_to_more_bit_for_bit(name):
    torch.manual_seed(0)
    model, x = build(name, (3, 10, 10), 4), images(300, 10, 10)
    most = ask(model, x, 162, device="cpu")
    for queries in (1, 2, 18):
        assert ask(model, x, queries, device="cpu").tobytes() == most[:, :queries].tobytes()


def test_inputs_may_be_laid_beforehand():
    torch.manual_seed(0)
    model, x = build("cnn", (3, 9, 5), 4), images(20, 9, 5)
    assert ask(model, to_inputs(x), 18, device="cpu").tobytes() == ask(model, x, 18, device="cpu").tobytes()
    table = np.random.default_rng(0).standard_normal((5, 3), dtype=np.float32)
    np.testing.assert_array_equal(ask(nn.Identity(), to_inputs(table), 1, device="cpu")[:, 0], table)
    with pytest.raises(BadOption, match="images of 9x4 are too small"):
        ask(model, to_inputs(images(2, 9, 4)), 162, device="cpu")


def test_the_answers_to_all_queries_come_back_at_once(monkeypatch):
    copies = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or tensor)
    ask(Pixels(), images(600, 3, 3), 18, device="cpu")
    assert copies == [(600, 18, 27)]


def test_tables_are_asked_as_they_are():
    x = np.random.default_rng(0).standard_normal((5, 3), dtype=np.float32)
    np.testing.assert_array_equal(ask(nn.Identity(), x, 1, device="cpu")[:, 0], x)
    with pytest.raises(BadOption, match="tables can only be queried as they are"):
        ask(nn.Identity(), x, 2, device="cpu")


@pytest.mark.parametrize(("size", "queries"), [(4, 162), (1, 18)])
def test_images_too_small_to_pad_are_refused(size, queries):
    with pytest.raises(BadOption, match=f"images of {size}x9 are too small"):
        ask(Pixels(), images(2, size, 9), queries, device="cpu")


def test_another_number_of_queries_is_refused():
    with pytest.raises(BadOption, match="queries=3: choose 1"):
        variants(3)


def test_as_the_task_augments():
    assert queries_for(Recipe(flip=0.5), is_image=True) == 2
    assert queries_for(Recipe(crop=4), is_image=True) == 1
    assert queries_for(Recipe(), is_image=False) == 1
