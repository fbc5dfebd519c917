"""Contract checks common to all components: frozen, named, documented, and built from options only."""

from __future__ import annotations

import dataclasses
import pickle
from typing import TYPE_CHECKING, Any

from privbench.contracts.abilities import traits_of
from privbench.errors import BadOption, CellFailed
from privbench.options.about import about
from privbench.options.fields import build, option_infos, parts_of, read, spec
from privbench.plugins.naming import name_fault
from privbench.plugins.registration import fault
from privbench.testing.base import Check, require

if TYPE_CHECKING:
    from collections.abc import Mapping

WITH_PAPER = ("attack", "defense", "audit")


def component_checks(component: Any, kind: str) -> list[Check]:
    """Return the checks common to all kinds of components. The parts of a chain are checked one by one."""
    parts = parts_of(component)

    def each(function: Any) -> Any:
        return lambda: [function(part) for part in parts]

    def documented() -> None:
        for part in parts:
            _documented(part, kind)

    def declared() -> None:
        for part in parts:
            wrong = fault(kind, type(part))
            require(not wrong, f"{wrong[:1].upper()}{wrong[1:]}")
            try:
                traits_of(part)
            except CellFailed as error:
                raise AssertionError(str(error)) from error

    return [
        Check("frozen", "It is immutable and hashable.", each(_frozen)),
        Check("options", "It can be rebuilt from its options, as text and as values.", each(_options)),
        Check("picklable", "It can be sent to a worker process.", each(_picklable)),
        Check(
            "declared",
            "It has what its kind must have, and no attribute is misspelt, of a wrong type, or no longer read.",
            declared,
        ),
        Check("documented", "It has a name, a docstring, a paper, and help for each option.", documented),
    ]


def _frozen(component: Any) -> None:
    cls = type(component)
    require(
        hasattr(cls, "__pydantic_fields__") and cls.__dataclass_params__.frozen,
        f"{cls.__qualname__} is not a component; decorate it with @privbench.api.component.",
    )
    try:
        again = hash(component) == hash(dataclasses.replace(component))
    except TypeError as error:
        raise AssertionError(f"It cannot be hashed ({error}); use tuples for options, not lists.") from error
    require(again and component == dataclasses.replace(component), "Two instances with the same options are not equal.")
    carried = sorted(vars(component).keys() - {info.name for info in option_infos(cls)})
    carried = [name for name in carried if not name.startswith("__")]
    require(
        not carried,
        f"It carries {', '.join(carried)} in addition to its options; compute other values when they are needed.",
    )


def _options(component: Any) -> None:
    cls, text = type(component), spec(component)
    require(_built(cls, read(text)[1]) == component, f"{text!r} does not rebuild the same component.")
    values = {info.name: getattr(component, info.name) for info in option_infos(cls)}
    require(_built(cls, values) == component, f"{values} do not rebuild the same component.")


def _built(cls: type, options: Mapping[str, Any]) -> Any:
    try:
        return build(cls, options)
    except BadOption as error:
        raise AssertionError(f"It cannot be rebuilt from its options: {error}") from error


def _picklable(component: Any) -> None:
    try:
        same = pickle.loads(pickle.dumps(component)) == component  # noqa: S301 - it was pickled on this very line
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"It cannot be sent to a worker process ({error}); define its class at the top level of a module."
        ) from error
    require(same, "The unpickled component is not equal to the original.")


def _documented(component: Any, kind: str) -> None:
    cls = type(component)
    name, doc = component.name, cls.__doc__ or ""
    wrong = name_fault(name, kind)
    require(not wrong, f"It is named {name!r}; {wrong}.")
    require(doc and not doc.startswith(f"{cls.__name__}("), f"{cls.__qualname__} has no docstring: describe it.")
    if kind in WITH_PAPER:
        require(about(cls).paper, "It has no `paper`: name its source, or 'none'.")
    silent = [info.name for info in option_infos(cls) if not info.help]
    require(not silent, f"Options without help: {', '.join(silent)}.")
