"""Ranges of the numbers in a record, as types of its schema: a number outside of them is no result."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LARGEST = 2**63 - 1
"""Largest count."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
"""A number of things."""
AtLeastOne = Annotated[int, Field(ge=1, le=LARGEST)]
"""A number of things of which there must be one."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number of at least 0, such as a time or a distance."""
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A number from 0 to 1, such as a rate or an AUC."""


def ordered(low: float | None, value: float | None, high: float | None) -> None:
    """Raise what pydantic reports, unless low <= value <= high; all, or both limits, may be absent."""
    if (low is None) != (high is None) or (value is None and low is not None):
        raise PydanticCustomError("interval", "a limit or the value of the interval is missing")
    if value is not None and low is not None and high is not None and not low <= value <= high:
        raise PydanticCustomError("interval", f"the interval [{low:g}, {high:g}] does not contain {value:g}")


def _each_ordered(found: list[tuple[float, float, float] | None]) -> list[tuple[float, float, float] | None]:
    for each in found:
        if each is not None and not each[1] <= each[0] <= each[2]:
            ordered(each[1], each[0], each[2])
    return found


def _a_band(found: tuple[float, float]) -> tuple[float, float]:
    ordered(found[0], found[0], found[1])
    return found


FractionsWithIntervals = Annotated[list[tuple[Fraction, Fraction, Fraction] | None], AfterValidator(_each_ordered)]
"""(value, low, high) of numbers from 0 to 1; None where there is none."""
Band = Annotated[tuple[Fraction, Fraction], AfterValidator(_a_band)]
"""(low, high) of a number from 0 to 1."""
