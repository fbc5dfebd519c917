"""Declarations: frozen records such as `Needs` and `Traits`, in which a component says what it asks for or what it is.

A misspelt field or a value of a wrong type fails where it is written, not where it spoils a result.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from typing_extensions import dataclass_transform

from privbench.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

C = TypeVar("C")


@dataclass_transform(frozen_default=True)
def declaration(cls: type[C]) -> type[C]:
    """Make a class a declaration: a frozen dataclass that raises TypeError, in one line, for what it does not have."""
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls)
    plain = made.__init__

    @functools.wraps(plain)
    def checked(self: Any, *values: Any, **named: Any) -> None:
        try:
            plain(self, *values, **named)
        except ValidationError as error:
            raise TypeError(_mistake(made, error.errors())) from None

    made.__init__ = checked
    return cast("type[C]", made)


def _mistake(cls: Any, problems: list[ErrorDetails]) -> str:
    """Return what is wrong with the first field that is wrong: its name, or its value."""
    name, known = str(problems[0]["loc"][0]), [field.name for field in fields(cls)]
    if name not in known:
        return f"{cls.__name__} has no {name!r}.{did_you_mean(name, known)} Fields: {', '.join(known)}."
    told = dict.fromkeys(each["msg"].removeprefix("Input ") for each in problems if each["loc"][0] == name)
    return f"{cls.__name__}({name}={problems[0]['input']!r}): it {' or '.join(told)}."
