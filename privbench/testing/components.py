"""Contract checks of all components: frozen, named, documented, and built from their options alone."""

from __future__ import annotations

import dataclasses
import pickle
import re
from typing import TYPE_CHECKING, Any

from privbench.errors import BadOption
from privbench.options.fields import build, option_infos, parts_of, read, spec
from privbench.testing.base import Check, require

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
WITH_PAPER = ("attack", "defense", "audit")


def component_checks(component: Any, kind: str) -> list[Check]:
    """Return the checks of a component's outside. A chain's parts are checked one by one."""
    parts = parts_of(component)

    def each(function: Any) -> Any:
        return lambda: [function(part) for part in parts]

    def documented() -> None:
        for part in parts:
            _documented(part, kind)

    return [
        Check("frozen", "Its options cannot be changed after it is made, and it can be a key.", each(_frozen)),
        Check("options", "Its options build it again, from text and from values.", each(_options)),
        Check("picklable", "It survives the way to a worker process.", each(_picklable)),
        Check("documented", "It has a name, a docstring, help for each option, and says where it is from.", documented),
    ]


def _frozen(component: Any) -> None:
    cls = type(component)
    require(
        hasattr(cls, "__pydantic_fields__") and cls.__dataclass_params__.frozen,
        f"{cls.__qualname__} is no component; decorate it with @privbench.api.component.",
    )
    try:
        again = hash(component) == hash(dataclasses.replace(component))
    except TypeError as error:
        raise AssertionError(f"It cannot be hashed ({error}); use tuples for options, not lists.") from error
    require(again and component == dataclasses.replace(component), "Two of the same options are not equal.")
    carried = sorted(vars(component).keys() - {info.name for info in option_infos(cls)})
    carried = [name for name in carried if not name.startswith("__")]
    require(
        not carried,
        f"It carries {', '.join(carried)} besides its options; what is no option is computed when it is needed.",
    )


def _options(component: Any) -> None:
    cls, text = type(component), spec(component)
    require(_built(cls, read(text)[1]) == component, f"{text!r} does not build the same component again.")
    values = {info.name: getattr(component, info.name) for info in option_infos(cls)}
    require(_built(cls, values) == component, f"{values} do not build the same component again.")


def _built(cls: type, options: Mapping[str, Any]) -> Any:
    try:
        return build(cls, options)
    except BadOption as error:
        raise AssertionError(f"Its own options do not build it again: {error}") from error


def _picklable(component: Any) -> None:
    try:
        same = pickle.loads(pickle.dumps(component)) == component  # noqa: S301 - it was pickled on this very line
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"It cannot be sent to a worker process ({error}); define its class at the top level of a module."
        ) from error
    require(same, "What comes out of pickle is not equal to what went in.")


def _documented(component: Any, kind: str) -> None:
    cls = type(component)
    name, doc = getattr(component, "name", None), cls.__doc__ or ""
    require(
        isinstance(name, str) and NAME.fullmatch(name),
        f"It is named {name!r}; use lower-case letters, digits and '-'.",
    )
    require(doc and not doc.startswith(f"{cls.__name__}("), f"{cls.__qualname__} has no docstring: say what it does.")
    if kind in WITH_PAPER:
        paper = getattr(component, "paper", None)
        require(isinstance(paper, str) and paper, "It has no `paper`: name its source, or 'none'.")
    silent = [info.name for info in option_infos(cls) if not info.help]
    require(not silent, f"Options without help: {', '.join(silent)}.")
