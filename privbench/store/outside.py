"""Third-party code in keys: packages, single files, scripts, cells of a notebook, and their imports.

A package counts as a whole, its data files byte by byte. Its imports count too if no version would reveal an edit:
modules next to it, of its own distribution, or of one in editable mode.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privbench.store.closures import typed_in
from privbench.store.definitions import parse
from privbench.store.syntax import for_type_checkers, imports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privbench.store.definitions import Module
    from privbench.store.syntax import Reference

CORE = "privbench"
SCRIPT, WORKERS_SCRIPT = "__main__", "__mp_main__"
"""Names of the main module, and of the same module in a worker process."""


@dataclass(frozen=True)
class Package:
    """A package's folder, a single file, or source text without a file."""

    name: str
    root: Path | None
    typed: bytes = b""

    def modules(self) -> tuple[Module, ...]:
        """Return all modules in it."""
        if self.root is None:
            return (parse(self.typed, SCRIPT, is_package=False),)
        files = [file for file in self._files() if file.suffix == ".py"]
        return _modules(self, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))

    def data_files(self) -> Iterator[str]:
        """Yield the names and hashes of all files in it other than Python source."""
        for file in self._files() if self.root is not None and self.root.is_dir() else ():
            if file.suffix not in (".py", ".pyc"):
                yield f"{file.relative_to(self.root).as_posix()} {_sha256(file)}"  # type: ignore[arg-type]

    def _files(self) -> list[Path]:
        if self.root is None or self.root.is_file():
            return [self.root] if self.root else []
        found = (each for each in sorted(self.root.rglob("*")) if each.is_file())
        return [each for each in found if not any(map(_is_tools, each.relative_to(self.root).parts[:-1]))]


@functools.lru_cache(maxsize=64)
def _modules(package: Package, files: tuple[tuple[Path, int, int], ...]) -> tuple[Module, ...]:
    """Parse files, again only if one has changed."""
    assert package.root is not None
    found = []
    for file, _, _ in files:
        parts = file.relative_to(package.root).with_suffix("").parts if package.root.is_dir() else ()
        name = SCRIPT if package.name == WORKERS_SCRIPT else package.name
        name = ".".join((name, *parts)).removesuffix(".__init__")
        is_package = file.stem == "__init__"
        try:
            found.append(parse(file.read_bytes(), name, is_package=is_package))
        except (SyntaxError, ValueError):  # a template, or for another Python: its bytes count
            found.append(parse(f"unreadable({_sha256(file)!r})".encode(), name, is_package=is_package))
    return tuple(found)


def packages(thing: Reference) -> list[Package]:
    """Return a third party's package, and those of its imports that no version covers.

    Raises PluginError without a source.
    """
    name, root = _located(thing.module)
    own = set(distributions().get(name.partition(".")[0], ()))
    start = Package(name, root, b"" if root else typed_in(thing.module, thing.name))
    found, waiting = {name: start}, [start]
    while waiting:
        for imported in sorted({each for module in waiting.pop().modules() for each in imported_by(module)}):
            if imported.partition(".")[0] in (SCRIPT, WORKERS_SCRIPT) or not _is_local(imported, own):
                continue
            name, root = _located(imported)
            if root is not None and name not in found:
                found[name] = Package(name, root)
                waiting.append(found[name])
    return [found[name] for name in sorted(found)]


def libraries(thing: Reference) -> dict[str, str]:
    """Return the versions of all distributions that third-party code imports, and that are not hashed with it."""
    hashed = packages(thing)
    names = {package.name for package in hashed}
    imported = {each for package in hashed for module in package.modules() for each in imported_by(module)}
    used = {each.partition(".")[0] for each in imported if _located(each)[0] not in names} - {CORE}
    brought_by = {name for top in used for name in distributions().get(top, ())}
    return {name: importlib.metadata.version(name) for name in sorted(brought_by)}


def imported_by(module: Module) -> set[str]:
    """Return the dotted names of all imports of a module, at any depth except those for type checkers."""
    found: set[str] = set()
    waiting: list[ast.AST] = [*module.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{target.module}.{target.name}" for _, target in imports(node, module.package)}
        waiting += node.orelse if for_type_checkers(node) else ast.iter_child_nodes(node)
    return found


@functools.lru_cache(maxsize=1)
def distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each importable package; reading all metadata takes a while."""
    return importlib.metadata.packages_distributions()


@functools.lru_cache(maxsize=4096)
def file_of(name: str) -> Path | None:
    """Return the source file of a module, found without importing, or None if it is not Python source."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _python(getattr(loaded, "__file__", None))
    top, *inner = name.split(".")
    found = None if not top or top in sys.builtin_module_names else importlib.util.find_spec(top)
    for depth in range(len(inner)):
        if found is None or found.submodule_search_locations is None:
            return None
        path = ".".join((top, *inner[: depth + 1]))
        found = importlib.machinery.PathFinder.find_spec(path, list(found.submodule_search_locations))
    return None if found is None else _python(found.origin)


def forget() -> None:
    """Search for files and distributions again."""
    for cached in (distributions, file_of, _is_edited, _modules):
        cached.cache_clear()


def _located(name: str) -> tuple[str, Path | None]:
    """Return the outermost regular package of a module, by dotted name, and its folder or single file.

    A folder without `__init__.py` may be shared by unrelated modules: each of them counts separately.
    """
    if name in (SCRIPT, WORKERS_SCRIPT) and (inside := getattr(sys.modules.get(name), "__package__", None)):
        file = file_of(name)  # run by `python -m`
        name = f"{inside}.{file.stem}" if file else name
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        file = file_of(package)
        if file is not None:
            return package, file.parent if file.name == "__init__.py" else file
    return name, None


def _is_local(name: str, own: set[str]) -> bool:
    """Return whether a module belongs to no distribution, to the same one, or to one in editable mode."""
    top = name.partition(".")[0]
    if top == CORE or top in sys.stdlib_module_names:
        return False
    brought_by = distributions().get(top, ())
    return not brought_by or any(each in own or _is_edited(each) for each in brought_by)


@functools.lru_cache(maxsize=256)
def _is_edited(distribution: str) -> bool:
    """Return whether a distribution is installed in editable mode (PEP 610)."""
    origin = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    return bool(origin and json.loads(origin).get("dir_info", {}).get("editable"))


def _is_tools(folder: str) -> bool:
    """Return whether a folder belongs to a tool, such as `__pycache__` or `.git`: it changes without edits."""
    return folder == "__pycache__" or folder.startswith(".")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _python(path: str | None) -> Path | None:
    return Path(path) if path is not None and path.endswith(".py") and Path(path).is_file() else None
