"""Components that the options of a component name, such as the defense in `valuation=relaxloss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench.options.fields import Composite, is_component, option_infos, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def named_by(component: object) -> dict[str, Any]:
    """Return the components among the values of a component's options, by the option."""
    if isinstance(component, Composite) or not is_component(component):
        return {}
    values = {info.name: getattr(component, info.name) for info in option_infos(type(component))}
    return {name: value for name, value in values.items() if is_component(value)}


def all_parts(component: object) -> Iterator[Any]:
    """Yield the components in a composition, and those that their options name."""
    for part in parts_of(component):
        yield part
        for other in named_by(part).values():
            yield from all_parts(other)
