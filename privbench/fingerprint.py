"""What shaped a result, for cache keys and records: options, component version, source code, libraries, processor.

The source of one of privbench's own components is what it is made of, by content (`privbench.definitions`); that of a
third party's is its whole package, data files byte by byte, and what that uses of privbench. An edited plugin therefore
never gets an old model, and an edited docstring trains nothing again (docs/design.md, rule 8).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import linecache
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privbench.definitions import Definitions, parse
from privbench.errors import PluginError
from privbench.options import Composite, options_of, spec
from privbench.syntax import Imported, Reference, for_type_checkers, imports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privbench.definitions import Module

CORE = "privbench"
LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy")
SCRIPT, WORKERS_SCRIPT = "__main__", "__mp_main__"
"""The names of the module that a person runs, and of the same in a worker process."""
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def component_key(component: Any) -> dict[str, Any]:
    """Return what of a component can change a result: name, version, options and the hash of its source."""
    if isinstance(component, Composite):
        return {**component.cache_key(component_key), "source": source_hash(type(component))}
    return {
        "name": component.name,
        "spec": spec(component, keyed_only=True),
        "options": options_of(component, keyed_only=True),
        "version": getattr(component, "version", 1),
        "source": source_hash(type(component)),
        **({"libraries": used} if (used := plugin_libraries(type(component))) else {}),
    }


@functools.lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide bits."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def source_hash(*things: Any) -> str:
    """Return the SHA-256 of the source of classes, functions (in whatever wrapped) and `Reference`s to our own.

    Raises PluginError for one that has no source.
    """
    return _source_hash(*(_reference(_unwrapped(thing)) for thing in things))


@functools.lru_cache(maxsize=512)
def _source_hash(*things: Reference) -> str:
    own = [thing for thing in things if core().owns(thing.module)]
    outside = [thing for thing in things if not core().owns(thing.module)]
    digest = core().digest(own, {each.name: each for thing in outside for each in _modules(thing)}.values())
    files = sorted({line for thing in outside for line in _data_files(thing.module)})
    return hashlib.sha256("\n".join([digest, *files]).encode()).hexdigest() if files else digest


def plugin_libraries(cls: type) -> dict[str, str]:
    """Return the versions of all distributions that a third party's code imports; of our own code none."""
    return {} if core().owns(cls.__module__) else dict(_libraries(_reference(cls)))


@functools.lru_cache(maxsize=64)
def _libraries(thing: Reference) -> Mapping[str, str]:
    used = {top for module in _modules(thing) for top in _imported(module)} - {CORE, thing.module.partition(".")[0]}
    names = {name for top in used for name in _distributions().get(top, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def forget() -> None:
    """Have sources read again that were edited while this process ran."""
    for cached in (_source_hash, _libraries, _distributions, _file, _package_modules, core):
        cached.cache_clear()


@functools.lru_cache(maxsize=1)
def core() -> Definitions:
    """Return the definitions of privbench itself."""
    return Definitions(CORE, _file)


@functools.lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each importable package: all metadata are read for it, which takes a while."""
    return importlib.metadata.packages_distributions()


def _reference(thing: Any) -> Reference:
    """Return the top-level definition that a class or function is, or is in."""
    return thing if isinstance(thing, Reference) else Reference(thing.__module__, thing.__qualname__.partition(".")[0])


def _unwrapped(function: Any) -> Any:
    """Return the function inside of partial arguments, an object's method and decorators that say what they wrap."""
    while isinstance(function, functools.partial | types.MethodType) or hasattr(function, "__wrapped__"):
        function = getattr(function, "func", None) or getattr(function, "__func__", None) or function.__wrapped__
    return function


def _modules(thing: Reference) -> list[Module]:
    """Return all modules of a third party's package, and of what it imports that no distribution has brought."""
    found: dict[str, Module] = {}
    waiting: list[tuple[str, Reference | None]] = [(thing.module, thing)]
    while waiting:
        name, wanted = waiting.pop()
        root, package = _package(name)
        if root is not None:
            modules = _package_modules(root, package)
        else:
            modules = [parse(_typed_in(wanted), SCRIPT, is_package=False)] if wanted else []
        for module in modules:
            if module.name not in found:
                found[module.name] = module
                waiting += [(top, None) for top in sorted(_imported(module)) if _is_local(top)]
    return [found[name] for name in sorted(found)]


@functools.lru_cache(maxsize=64)
def _package_modules(root: Path, package: str) -> list[Module]:
    """Return the modules of a package in a folder, or of a lone file."""
    if root.is_file():
        return [parse(root.read_bytes(), SCRIPT if package == WORKERS_SCRIPT else package, is_package=False)]
    names = {file: file.relative_to(root).with_suffix("").parts for file in sorted(root.rglob("*.py"))}
    return [
        parse(
            file.read_bytes(), ".".join((package, *parts)).removesuffix(".__init__"), is_package=file.stem == "__init__"
        )
        for file, parts in names.items()
    ]


def _data_files(module: str) -> Iterator[str]:
    """Yield the names and hashes of all files of a third party's package that are no Python source."""
    root, _ = _package(module)
    for file in sorted(root.rglob("*")) if root is not None and root.is_dir() else ():
        if file.is_file() and file.suffix not in (".py", ".pyc") and root is not None:
            yield f"{file.relative_to(root).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}"


def _package(name: str) -> tuple[Path | None, str]:
    """Return the outermost regular package that a module lies in, as folder or lone file, and its dotted name.

    A folder without `__init__.py` may be shared by strangers: what lies in it counts for itself.
    """
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        file = _file(package)
        if file is not None:
            return (file.parent, package) if file.name == "__init__.py" else (file, package)
    return None, name


def _typed_in(thing: Reference) -> bytes:
    """Return the source of a class that lies in no file: the cells of a notebook that it and what it uses stand in.

    Raises PluginError where there is none.
    """
    space = vars(sys.modules.get(thing.module))
    waiting, found = [space.get(thing.name)], dict[str, str]()
    while waiting:
        each = waiting.pop()
        functions = [each, *vars(each).values()] if hasattr(each, "__dict__") else []
        cells = {f.__code__.co_filename for f in functions if inspect.isfunction(f) and f.__globals__ is space}
        for cell in sorted(cells - set(found)):
            found[cell] = "".join(linecache.getlines(cell))
            words = sorted({node.id for node in ast.walk(ast.parse(found[cell])) if isinstance(node, ast.Name)})
            used = {word: space[word] for word in words if word in space and not word.startswith("_")}
            waiting += [value for value in used.values() if getattr(value, "__module__", None) == thing.module]
            values = (f"{word} = {value!r}" for word, value in used.items() if isinstance(value, PLAIN))
            found[cell] = "\n".join([found[cell], *values])
    if not any(found.values()):
        raise PluginError(
            f"The source of {thing.name!r} cannot be found, so what it makes could not be told from what another "
            f"version of it makes; write it into a file."
        )
    return "\n".join(sorted(found.values())).encode()


def _imported(module: Module) -> set[str]:
    """Return the top-level names of the packages that a module imports, at any depth but for type checkers."""
    found: set[str] = set()
    waiting: list[ast.AST] = [statement for statements in module.defined.values() for statement in statements]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {target.module.partition(".")[0] for _, target in imports(node, module.package)}
        waiting += node.orelse if for_type_checkers(node) else ast.iter_child_nodes(node)
    targets = [*module.imported.values(), *map(Imported, module.starred)]
    return found | {target.module.partition(".")[0] for target in targets}


def _is_local(top: str) -> bool:
    """Return whether a module was brought by no distribution, as what lies beside a script is not."""
    return top not in (CORE, SCRIPT) and top not in sys.stdlib_module_names and top not in _distributions()


@functools.lru_cache(maxsize=4096)
def _file(name: str) -> Path | None:
    """Return the source file of a module, found without importing anything, or None for what is no Python source."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _python(getattr(loaded, "__file__", None))
    top, *inner = name.split(".")
    found = None if top in sys.builtin_module_names else importlib.util.find_spec(top)
    for depth in range(len(inner)):
        if found is None or found.submodule_search_locations is None:
            return None
        path = ".".join((top, *inner[: depth + 1]))
        found = importlib.machinery.PathFinder.find_spec(path, list(found.submodule_search_locations))
    return None if found is None else _python(found.origin)


def _python(path: str | None) -> Path | None:
    return Path(path) if path is not None and path.endswith(".py") and Path(path).is_file() else None
