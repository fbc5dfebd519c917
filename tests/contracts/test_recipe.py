from __future__ import annotations

import pytest
from pydantic import ValidationError

from privbench.contracts.recipe import Recipe
from privbench.options.fields import option_infos


@pytest.mark.parametrize(
    "field",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"optimizer": "adam"},
        {"lr": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"schedule": "step"},
        {"gamma": 0.0},
        {"warmup": -1.0},
        {"crop": -1},
        {"flip": 1.1},
        {"cutout": -1},
        {"copies": -1},
        {"precision": "float16"},
        {"epoch": 3},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(field):
    with pytest.raises(ValidationError, match=next(iter(field))):
        Recipe(**field)


def test_every_field_says_what_it_is():
    assert all(info.help and info.keyed for info in option_infos(Recipe))


def test_recipes_are_compared_by_value():
    assert Recipe(epochs=2) == Recipe(epochs=2) != Recipe(epochs=3)
    assert hash(Recipe()) == hash(Recipe())
