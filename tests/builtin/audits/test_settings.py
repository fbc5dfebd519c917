import dataclasses

import pytest

from privbench.builtin.audits.settings import MOST, grid
from privbench.contracts.recipe import Recipe

RECIPE = Recipe(epochs=40, lr=0.1)


@pytest.mark.parametrize("student", ["task", "cnn", "mlp", "logistic"])
def test_settings_are_different_and_always_the_same(student):
    tried = grid(student, MOST, RECIPE)
    assert tried == grid(student, MOST, RECIPE)
    assert len({tuple(each.items()) for each in tried}) == len(tried) == MOST


@pytest.mark.parametrize("student", ["task", "mlp"])
def test_a_smaller_grid_is_the_start_of_a_larger(student):
    assert grid(student, 24, RECIPE) == grid(student, MOST, RECIPE)[:24]


def test_every_level_is_tried():
    tried = grid("mlp", 24, RECIPE)
    assert {each["lr"] for each in tried} == {0.001, 0.003, 0.01, 0.03, 0.1}
    assert {each["epochs"] for each in tried} == {10, 20, 40}
    assert {each["weight_decay"] for each in tried} == {0.0, 5e-4, 5e-3}
    assert len({each["hidden"] for each in tried}) == 6


def test_recipes_of_few_epochs_repeat_nothing():
    tried = grid("cnn", MOST, dataclasses.replace(RECIPE, epochs=1))
    assert len(tried) == len({tuple(each.items()) for each in tried}) == MOST // 3
