"""Fingerprints for cache keys and records: options, component version, source code, libraries, processor.

The source of a component of privbench consists of the definitions it depends on, by content (definitions.py); that of a
third-party component is its whole package, data files byte by byte, and the code of privbench that it uses. An edited
plugin therefore never gets an old model, and an edited docstring causes no new training (docs/design.md, rule 8).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import sys
import types
from typing import Any

from privbench.options.about import about
from privbench.options.fields import Composite, options_of, spec
from privbench.options.named import named_by
from privbench.store import outside
from privbench.store.closures import made_with
from privbench.store.definitions import Definitions
from privbench.store.outside import CORE, file_of, libraries, packages
from privbench.store.syntax import Reference

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy")


def component_key(component: Any) -> dict[str, Any]:
    """Return everything about a component that can change a result: name, version, options and source hash.

    The same of the components that its options name.
    """
    named = named_by(component)
    if isinstance(component, Composite):
        text = spec(component, keyed_only=True)
        return {**component.cache_key(component_key), "spec": text, "source": source_hash(type(component))}
    return {
        "name": component.name,
        "spec": spec(component, keyed_only=True),
        "options": options_of(component, keyed_only=True),
        "version": about(type(component)).version,
        "source": source_hash(type(component)),
        **({"libraries": used} if (used := plugin_libraries(type(component))) else {}),
        **({"named": {name: component_key(each) for name, each in named.items()}} if named else {}),
    }


@functools.lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries on which the bits of results depend."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def source_hash(*things: Any) -> str:
    """Return the SHA-256 of the source of classes, functions (also wrapped ones) and `Reference`s to privbench's code.

    Raises PluginError for an object without source.
    """
    digest = _source_hash(*(_reference(_unwrapped(thing)) for thing in things))
    values = [made_with(thing) for thing in things if isinstance(thing, type) and not _is_in_its_place(thing)]
    return hashlib.sha256("\n".join([digest, *values]).encode()).hexdigest() if values else digest


def _source_hash(*things: Reference) -> str:
    own = tuple(thing for thing in things if core().owns(thing.module))
    if own == things:
        return _own_hash(*own)
    found = {each for thing in things if thing not in own for each in packages(thing)}
    modules = {module.name: module for package in found for module in package.modules()}
    files = sorted({line for package in found for line in package.data_files()})
    digest = core().digest(own, modules.values())
    return hashlib.sha256("\n".join([digest, *files]).encode()).hexdigest() if files else digest


@functools.lru_cache(maxsize=512)
def _own_hash(*things: Reference) -> str:
    return core().digest(things)


def plugin_libraries(cls: type) -> dict[str, str]:
    """Return the versions of all distributions that third-party code imports; none for code of privbench."""
    return {} if core().owns(cls.__module__) else libraries(_reference(cls))


def forget() -> None:
    """Forget cached sources, so that those edited since the start of this process are read again."""
    for cached in (_own_hash, core):
        cached.cache_clear()
    outside.forget()


def refresh() -> None:
    """Forget cached sources if a file of privbench has changed since it was read."""
    if core().are_edited():
        forget()


@functools.lru_cache(maxsize=1)
def core() -> Definitions:
    """Return the definitions of privbench itself."""
    return Definitions(CORE, file_of)


def _reference(thing: Any) -> Reference:
    """Return the top-level definition of a class or function, or the one that contains it."""
    return thing if isinstance(thing, Reference) else Reference(thing.__module__, thing.__qualname__.partition(".")[0])


def _is_in_its_place(cls: type) -> bool:
    """Return whether a class is found in its module under its name, unlike classes made by a function."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls or core().owns(cls.__module__)


def _unwrapped(function: Any) -> Any:
    """Return the function inside a partial, a bound method or decorators that set `__wrapped__`."""
    while isinstance(function, functools.partial | types.MethodType) or hasattr(function, "__wrapped__"):
        function = getattr(function, "func", None) or getattr(function, "__func__", None) or function.__wrapped__
    return function
