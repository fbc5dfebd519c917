"""Numbers outside of their ranges are no results."""

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from privbench.stats import ranges
from privbench.stats.intervals import AtLeastZero, Estimate, Share, Signed, estimate, unavailable


def accepts(kind, value):
    """Return whether a value is one of a type of a schema."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (ranges.Count, [0, 1, ranges.LARGEST], [-1, 0.5, math.nan, math.inf, 10**30, "many", None]),
        (ranges.AtLeastOne, [1, ranges.LARGEST], [0, -1, 10**30]),
        (ranges.Finite, [0.0, -1e300, 1], [math.nan, math.inf, -math.inf, "x"]),
        (ranges.NonNegative, [0.0, 1e300], [-1e-9, math.nan, math.inf]),
        (ranges.Fraction, [0, 1.0, 0.5], [-1e-9, 1 + 1e-9, math.nan, math.inf]),
        (ranges.Band, [(0, 1), (0.5, 0.5)], [(0.6, 0.5), (0, 1.1), (0.5,), (math.nan, 0.5)]),
        (ranges.FractionsWithIntervals, [[], [None, (0.5, 0.4, 0.6)]], [[(0.5, 0.6, 0.4)], [(0.5, 0.0, 1.5)]]),
    ],
)
def test_a_number_lies_in_its_range(kind, right, wrong):
    assert [value for value in right if not accepts(kind, value)] == []
    assert [value for value in wrong if accepts(kind, value)] == []


@pytest.mark.parametrize(
    ("value", "low", "high", "right"),
    [
        (0.5, 0.4, 0.6, True),
        (0.5, 0.5, 0.5, True),
        (None, None, None, True),
        (0.5, None, None, True),
        (0.5, 0.6, 0.7, False),
        (0.5, 0.3, 0.4, False),
        (0.5, None, 0.6, False),
        (0.5, 0.4, None, False),
        (None, 0.4, 0.6, False),
        (math.nan, 0.4, 0.6, False),
        (0.5, -math.inf, math.inf, False),
    ],
)
def test_an_interval_contains_its_value(value, low, high, right):
    assert accepts(Estimate, {"value": value, "low": low, "high": high, "n": 1}) == right


@pytest.mark.parametrize(
    ("kind", "least", "most"), [(Share, 0.0, 1.0), (Signed, -1.0, 1.0), (AtLeastZero, 0.0, math.inf)]
)
def test_an_estimate_lies_in_its_range_with_its_interval(kind, least, most):
    assert accepts(kind, unavailable("nothing to see"))
    assert accepts(kind, estimate(least, least, min(most, 9.0), 5))
    assert not accepts(kind, estimate(least, least - 0.1, least, 5))
    assert accepts(kind, estimate(0.5, 0.5, 2.0, 5)) == (most == math.inf)
