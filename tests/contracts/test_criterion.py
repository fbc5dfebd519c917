"""Criteria: what the facts of a defense must be."""

import pytest

from privbench.api import Criterion


@pytest.mark.parametrize(("value", "missed"), [(0.5, False), (0.7, False), (0.9, False), (0.49, True), (0.91, True)])
def test_bounds_belong_to_what_meets_it(value, missed):
    assert bool(Criterion("rank", "all is well", least=0.5, most=0.9).missed(value)) == missed


def test_how_it_is_missed_is_said():
    assert Criterion("rank", "all is well", most=0.5).missed(0.5834) == (
        "rank is 0.583, where at most 0.5 would mean: all is well"
    )
    assert "at least 0.1 and at most 0.5 would" in Criterion("rank", "all is well", 0.1, 0.5).missed(1.0)
    assert Criterion("rank", "all is well", least=0.1).missed(float("nan"))


def test_a_misspelt_bound_is_refused():
    with pytest.raises(TypeError, match=r"Criterion has no 'leest'\. Did you mean 'least'\?"):
        Criterion("rank", "all is well", leest=0.5)
