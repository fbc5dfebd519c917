"""Estimate: a number with its 95 % confidence interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from privbench.stats.ranges import Count, Finite, ordered

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

LEVEL = 0.95
"""Coverage of every interval in a record."""


class Estimate(BaseModel):
    """A number, its 95 % interval, and its sample size; without a value it is n/a, for the reason in `note`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    value: Finite | None
    """The number; null if the data cannot support one."""
    low: Finite | None
    """Lower end of the 95 % interval."""
    high: Finite | None
    """Upper end of the 95 % interval; the interval contains the value."""
    n: Count
    """Number of observations; one example counts once for every target."""
    note: str = ""
    """Why it is n/a, or a remark."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        ordered(self.low, self.value, self.high)
        return self


def _within(least: float, most: float) -> Callable[[Estimate], Estimate]:
    """Return a validator of estimates, which with their intervals lie in [least, most]."""

    def validate(found: Estimate) -> Estimate:
        for number in (found.value, found.low, found.high):
            if number is not None and not least <= number <= most:
                raise PydanticCustomError("range", f"{number:g} is outside [{least:g}, {most:g}]")
        return found

    return validate


Share = Annotated[Estimate, AfterValidator(_within(0.0, 1.0))]
"""An estimate from 0 to 1, such as a rate or an AUC."""
Signed = Annotated[Estimate, AfterValidator(_within(-1.0, 1.0))]
"""An estimate from -1 to 1."""
AtLeastZero = Annotated[Estimate, AfterValidator(_within(0.0, math.inf))]
"""An estimate of at least 0, such as a distance."""


def unavailable(reason: str, n: int = 0) -> Estimate:
    """Return n/a."""
    return Estimate(value=None, low=None, high=None, n=n, note=reason)


def estimate(value: float, low: float, high: float, n: int, note: str = "") -> Estimate:
    """Return an estimate whose interval contains its value, whatever rounding or resampling did to the limits.

    Nine digits are kept, so that a record does not depend on a library's order of summation.
    """
    low, value, high = (rounded(float(number), 9) for number in (min(low, value), value, max(high, value)))
    return Estimate(value=value, low=low, high=high, n=int(n), note=note)


class Bounded(float):
    """A number in [least, most]: by default a share, such as a rate or an AUC.

    of: least number of observations behind it, used if several shares do not differ
    alone: its own interval, used if there is no other number

    The interval of a mean of several stays within the bounds.
    """

    least: float
    most: float
    of: int
    alone: Estimate | None

    def __new__(
        cls, value: float, least: float = 0.0, most: float = 1.0, of: int = 1, alone: Estimate | None = None
    ) -> Self:
        """Return the number. Raises ValueError if it is out of bounds."""
        if value < least or value > most:
            raise ValueError(f"{value:g} lies outside [{least:g}, {most:g}], where it should be.")
        self = super().__new__(cls, value)
        self.least, self.most, self.of, self.alone = least, most, of, alone
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return the arguments that make it again in another process."""
        return float(self), self.least, self.most, self.of, self.alone


def rounded(number: float, digits: int) -> float:
    """Return the number with the given number of significant digits."""
    return float(f"{number:.{digits}g}")
