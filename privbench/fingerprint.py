"""What shaped a result, for cache keys and records: options, component version, source code, library versions.

The source of a component is its module and everything of privbench that this imports, transitively; of a third
party's component also its whole package. An edited plugin therefore never gets an old model (DESIGN rule 8).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privbench.options import options_of, spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CORE = "privbench"
LIBRARIES = ("torch", "torchvision", "numpy")


def component_key(component: Any) -> dict[str, Any]:
    """Return what of a component can change a result: name, version, options and the hash of its source."""
    if hasattr(component, "cache_key"):
        key: dict[str, Any] = component.cache_key
        return key
    if hasattr(component, "parts"):
        return {"parts": [component_key(part) for part in component.parts], "spec": spec(component)}
    return {
        "name": component.name,
        "spec": spec(component, keyed_only=True),
        "options": options_of(component, keyed_only=True),
        "version": getattr(component, "version", 1),
        "source": source_hash(type(component).__module__),
        **({"libraries": used} if (used := plugin_libraries(type(component).__module__)) else {}),
    }


@functools.lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide bits."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


@functools.lru_cache(maxsize=256)
def plugin_libraries(module: str) -> dict[str, str]:
    """Return the versions of all other distributions that a third party's package imports; of our own modules none."""
    top = module.partition(".")[0]
    if top == CORE:
        return {}
    own = {name: path for name, path in source_files(module).items() if name.partition(".")[0] == top}
    imported = {used.partition(".")[0] for name, path in own.items() for used in _imports(name, path)}
    names = {name for used in imported - {top, CORE} for name in _distributions().get(used, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


@functools.lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each importable package: all metadata are read for it, which takes a while."""
    return importlib.metadata.packages_distributions()


@functools.lru_cache(maxsize=256)
def source_hash(*modules: str) -> str:
    """Return the SHA-256 over the sources that the modules are made of (see above)."""
    digest = hashlib.sha256()
    for name, path in sorted(source_files(*modules).items()):
        digest.update(name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def source_files(*modules: str) -> dict[str, Path]:
    """Return the source files that the modules are made of, by module name."""
    found: dict[str, Path] = {}
    tops = {CORE, *(name.partition(".")[0] for name in modules)}
    waiting = list(modules)
    waiting += [name for top in tops - {CORE} for name in _package_modules(top)]
    while waiting:
        name = waiting.pop()
        path = None if name in found or name == CORE or name.partition(".")[0] not in tops else _source(name)
        if path is None:
            continue
        found[name] = path
        if path.name == "__init__.py":  # what a package loads by name at run time is its own modules
            waiting += _package_modules(name)
        waiting += _imports(name, path)
    return found


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yield the names that a module imports anywhere but under `if TYPE_CHECKING:`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            attributes = [f"{base}.{alias.name}" for alias in node.names]  # of which some may be submodules
            submodules = [name for name in attributes if _source(name)]
            yield from submodules
            if len(submodules) < len(attributes):
                yield base
        waiting += ast.iter_child_nodes(node)


@functools.lru_cache(maxsize=4096)
def _source(name: str) -> Path | None:
    """Return the source file of a module, found without importing anything, or None for what is no Python module."""
    top, *inner = name.split(".")
    spec_of_top = importlib.util.find_spec(top)
    if spec_of_top is None or spec_of_top.origin is None:
        return None
    path = Path(spec_of_top.origin)
    if inner:
        place = path.parent.joinpath(*inner)
        candidates = [place.with_name(place.name + ".py"), place / "__init__.py"]
        path = next((file for file in candidates if path.name == "__init__.py" and file.is_file()), Path())
    return path if path.suffix == ".py" else None


def _package_modules(name: str) -> list[str]:
    """Return all modules of a package, itself included; of a plain module, just its name."""
    path = _source(name)
    if path is None or path.name != "__init__.py":
        return [name]
    root = path.parent
    relative = (file.relative_to(root).with_suffix("").parts for file in sorted(root.rglob("*.py")))
    return [".".join((name, *parts)).removesuffix(".__init__") for parts in relative]
