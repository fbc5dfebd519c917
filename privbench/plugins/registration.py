"""Registration checks: whether a class keeps the contract of its kind, as far as that shows before it is built.

A misspelt stage, threshold or trait would be ignored in silence; each is refused here, with the name that is meant.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import numbers
import reprlib
import types
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from typing_extensions import get_protocol_members

from privbench.contracts.abilities import (
    BuildsEmpty,
    Compares,
    Depicts,
    Filters,
    Fits,
    HasCriteria,
    HasFindings,
    HasThreshold,
    HasTraits,
    JudgesFindings,
    Prepares,
    Reuses,
    TransformsInputs,
)
from privbench.contracts.attack import MembershipAttack, ReconstructionAttack
from privbench.contracts.needs import Needs
from privbench.contracts.task import Task
from privbench.contracts.traits import Traits
from privbench.errors import PluginError, did_you_mean
from privbench.options.about import About
from privbench.options.fields import parts_of
from privbench.plugins.naming import name_fault
from privbench.population.audit import Audit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "task": (("load",), ("network",), ("recipe",)),
    "defense": (("fit", "prepare", "filter"),),
    "attack": (("needs",), ("score", "reconstruct")),
    "audit": (("measure",),),
}
"""What a component of a kind must have, or one of."""
CONTRACTS: dict[str, tuple[type, ...]] = {
    "task": (Task, Depicts),
    "defense": (Prepares, Fits, Filters, BuildsEmpty, Reuses, TransformsInputs, HasTraits, HasCriteria),
    "attack": (MembershipAttack, ReconstructionAttack, HasThreshold, HasFindings, JudgesFindings),
    "audit": (Audit, Compares),
}
"""What a component of a kind may have, beside what any may (`About`)."""
TYPES: dict[str, tuple[type, str]] = {
    "needs": (Needs, "privbench.api.Needs"),
    "traits": (Traits, "privbench.api.Traits"),
    "criteria": (tuple, "a tuple of privbench.api.Criterion"),
    "threshold": (numbers.Real, "a number"),
    "depicts": (str, "text"),
    "version": (int, "a whole number"),
    "paper": (str, "text"),
    "presets": (Mapping, "options by the name of a preset"),
}
FUNCTIONS = (types.FunctionType, staticmethod, classmethod, functools.partialmethod)
PLAIN = (bool, int, float)
TRAITS = tuple(field.name for field in fields(Traits))
ALIKE = 0.8
"""Share of two names that is equal, as difflib counts it, from which on one counts as the other misspelt."""


def fault(kind: str, cls: Any) -> str:
    """Return what is wrong with a class that is registered as a component of a kind, in one line, or nothing."""
    if not isinstance(cls, type):
        return f"{cls!r} is no class; return the classes themselves, not instances."
    has = attributes(cls)
    if "__pydantic_fields__" not in has:
        return f"{cls.__qualname__} is no component; decorate it with @privbench.api.component."
    name = has.get("name")
    if wrong := name_fault(name, kind):
        return f"{cls.__qualname__} is named {_shown(name)}; {wrong}."
    if wrong := misdeclared(kind, cls):
        return wrong
    for words in REQUIRED[kind]:
        if not any(word in has for word in words):
            near = next((each for word in words for each in difflib.get_close_matches(word, _own(has), n=1)), "")
            instead = f"is {near!r} misspelt?" if near else "see privbench.api."
            return f"{kind} {name!r} has no {' or '.join(map(repr, words))}; {instead}"
    return ""


def check(kind: str, components: Iterable[Any]) -> None:
    """Raise PluginError for components, registered or not, with a wrong name or with declarations that are not read."""
    for part in (part for component in components for part in parts_of(component)):
        name = attributes(type(part)).get("name")
        if isinstance(name, str) and (wrong := name_fault(name, kind)):
            raise PluginError(f"{kind.capitalize()} {type(part).__qualname__} is named {_shown(name)}; {wrong}.")
        if wrong := misdeclared(kind, type(part)):
            raise PluginError(f"{wrong[0].upper()}{wrong[1:]}")


def misdeclared(kind: str, cls: type) -> str:
    """Return which attribute of a component class is misspelt, of a wrong type, or no longer read; or nothing."""
    has = attributes(cls)
    wrong = next(itertools.chain(_undeclared(has), _problems(kind, _own(has)), _unfit_presets(has)), "")
    return f"{kind} {has.get('name')!r} {wrong}" if wrong else ""


def _own(has: Mapping[str, Any]) -> dict[str, Any]:
    """Return public attributes that are no options; what is merely annotated is a field too, without a description."""
    options = {name for name, field in has.get("__pydantic_fields__", {}).items() if field.description}
    return {name: value for name, value in has.items() if not name.startswith("_") and name not in options}


def _undeclared(has: Mapping[str, Any]) -> Iterator[str]:
    """Yield what pydantic took for an option, because its annotation lacks ClassVar."""
    for name in ("needs", "traits"):
        if name in has.get("__pydantic_fields__", {}):
            yield f"has an option {name!r}: annotate it as ClassVar[{name.capitalize()}]."


def _unfit_presets(has: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of presets that the component does not have."""
    known = has.get("__pydantic_fields__", {})
    for preset, values in (has.get("presets") or {}).items():
        for option in values:
            if option not in known:
                yield f"has no option {option!r}, which its preset {preset!r} sets.{did_you_mean(option, known)}"


def _problems(kind: str, own: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with public attributes that are no options, the likeliest cause first."""
    methods, values = contract(kind)
    traits = TRAITS if kind == "defense" else ()
    if old := [name for name in traits if name in own]:
        plain = [name for name in old if isinstance(own[name], PLAIN)]
        given = ", ".join(f"{name}={own[name] if name in plain else '...'}" for name in old)
        instead = "traits =" if plain == old else "a property traits that returns"
        yield f"has {old[0]!r}, which is not read any more: write {instead} Traits({given})."
    for name, value in own.items():
        if name in methods | values:
            yield from _mistyped(name, value, methods)
            continue
        meant = methods if isinstance(value, FUNCTIONS) else [*values, *traits]
        close = difflib.get_close_matches(name, [each for each in meant if each not in own], n=1, cutoff=ALIKE)
        for near in close:
            instead = f"traits = Traits({near}=...)" if near in traits else repr(near)
            yield f"has {name!r}, which is not read. Did you mean {instead}?"
    if "filter" in own and "filtered" not in own and kind == "defense":
        yield "has 'filter' but no 'filtered', without which its model cannot be loaded again."


def _mistyped(name: str, value: Any, methods: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with the value of an attribute; what a property returns shows when it is asked for."""
    if value is None or isinstance(value, property | functools.cached_property):
        return
    if name in methods:
        if not callable(value) and not isinstance(value, FUNCTIONS):
            yield f"has the {name} {_shown(value)}; it must be a method."
    elif isinstance(value, FUNCTIONS):
        yield f"has a method {name!r}, which must be a property: put @property above it."
    elif name in TYPES and not isinstance(value, TYPES[name][0]):
        yield f"has the {name} {_shown(value)}; it must be {TYPES[name][1]}."


def _shown(value: Any) -> str:
    """Return a value as a short text on one line."""
    return " ".join(reprlib.repr(value).split())


@functools.lru_cache(maxsize=8)
def contract(kind: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the methods that a component of a kind may have, and of the other attributes."""
    members = {name: attributes(each).get(name) for each in CONTRACTS[kind] for name in get_protocol_members(each)}
    methods = {name for name, value in members.items() if isinstance(value, FUNCTIONS)}
    return frozenset(methods), frozenset({*members, *(field.name for field in fields(About))} - methods)


def attributes(cls: type) -> dict[str, Any]:
    """Return the attributes of a class and of its bases as they are written: properties, not what they return."""
    return {name: value for each in reversed(cls.__mro__[:-1]) for name, value in vars(each).items()}
