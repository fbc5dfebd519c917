"""Types of options whose values are components, written as on the command line: `valuation='relaxloss:alpha=0.1'`.

A component with such an option holds the component itself. Its key and its record cover the code of that one too.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema

from privbench.errors import PrivbenchError
from privbench.options.fields import Composite, is_component
from privbench.plugins.loading import resolve
from privbench.population.composition import chain


def _read(value: Any, kind: str) -> Any:
    """Return the component that a text names. Raises ValueError, which pydantic reports with the option's name."""
    try:
        if isinstance(value, str):
            return resolve(kind, value)
        if is_component(value):
            return chain([value]) if kind == "defense" and not isinstance(value, Composite) else value
    except PrivbenchError as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"must be the text of a component of the kind {kind}")


NamedDefense: TypeAlias = Annotated[
    Any, BeforeValidator(functools.partial(_read, kind="defense")), WithJsonSchema({"type": "string"})
]
"""A defense, or a chain of them; it always has a training stage."""
NamedAttack: TypeAlias = Annotated[
    Any, BeforeValidator(functools.partial(_read, kind="attack")), WithJsonSchema({"type": "string"})
]
