"""Declarations: frozen, and checked where they are written."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from privbench.api import Needs, Traits


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (
            lambda: Traits(relativ_cost=2),
            "Traits has no 'relativ_cost'. Did you mean 'relative_cost'? Fields: relative",
        ),
        (
            lambda: Traits(cost=2),
            "Traits has no 'cost'. Fields: relative_cost, from_members, publishes_synthetic, trains",
        ),
        (lambda: Traits(relative_cost="2"), "Traits(relative_cost='2'): it should be a valid number."),
        (lambda: Traits(relative_cost=-1), "Traits(relative_cost=-1): it should be greater than or equal to 0."),
        (lambda: Traits(relative_cost=float("nan")), "Traits(relative_cost=nan): it should be a finite number."),
        (lambda: Traits(from_members=1), "Traits(from_members=1): it should be a valid boolean."),
        (lambda: Needs(shadow="adaptive"), "Needs has no 'shadow'. Did you mean 'shadows'? Fields: answers, queries,"),
        (
            lambda: Needs(shadows="adaptiv"),
            "Needs(shadows='adaptiv'): it should be 'none', 'adaptive', 'undefended' or",
        ),
        (lambda: Needs(answers="logit"), "Needs(answers='logit'): it should be 'logits', 'labels' or 'none'."),
        (lambda: Needs(queries="tasks"), "Needs(queries='tasks'): it should be a valid integer or should be 'task'."),
        (lambda: Needs(queries=2.5), "Needs(queries=2.5): it should be a valid integer or should be 'task'."),
        (lambda: Needs(model="yes"), "Needs(model='yes'): it should be a valid boolean."),
        (lambda: dataclasses.replace(Needs(), labels=True), "Needs has no 'labels'. Fields: answers, queries"),
    ],
)
def test_what_is_not_declared_so_is_told_in_one_line(declare, told):
    with pytest.raises(TypeError) as caught:
        declare()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("made", [Needs(queries=18, shadows="adaptive"), Traits(relative_cost=2, from_members=True)])
def test_a_declaration_is_a_frozen_value(made):
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.model = True
    assert pickle.loads(pickle.dumps(made)) == made
    assert {made: 1}[dataclasses.replace(made)] == 1
    assert dataclasses.replace(made) == made


def test_fields_may_be_given_in_order():
    assert Needs("labels", 2) == Needs(answers="labels", queries=2)
    assert Traits(2).relative_cost == 2.0
