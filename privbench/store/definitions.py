"""Dependency hash of a definition: the definition and all definitions of its package that it uses, by content.

    builtin.defenses.relaxloss.RelaxLoss -> learn.training.train -> learn.augmentation.augment -> ...

A name is followed through imports and re-exports to its definition. A module that is used as a value, or in which a
name cannot be found, counts as a whole. Docstrings, annotations and locations are left out (`syntax.py`).
"""

from __future__ import annotations

import ast
import builtins
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privbench.store.names import Imported, bindings, for_type_checkers
from privbench.store.syntax import Reference, Writer, is_docstring, registers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from privbench.store.names import Binding

WHOLE, EFFECTS = "*", ""
"""Names for a whole module, and for the statements that it runs on import other than definitions."""
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
NOT_CODE = {"__all__"}
LOADING, LOOKING_UP = {"importlib.import_module", "import_module", "__import__"}, {"globals", "eval", "exec", "vars()"}
"""Functions that find modules, and definitions of their own module, by names known only at run time."""


@dataclass
class Module:
    """Top-level statements of a module, by the names that they define."""

    name: str
    package: str
    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: dict[str, Imported] = field(default_factory=dict)
    starred: list[str] = field(default_factory=list)
    """Modules imported with `*`."""
    ran: list[str] = field(default_factory=list)
    """Modules imported by their full path."""
    body: list[ast.stmt] = field(default_factory=list)
    """All statements, imports included."""


@dataclass(frozen=True)
class Written:
    """Definition as canonical text, without its references."""

    text: str
    """SHA-256 of the text without references."""
    references: tuple[Reference, ...]
    """The references, in order."""
    others: tuple[Reference, ...]
    """Further dependencies: modules that it imports or loads by name."""


def parse(source: bytes, name: str, *, is_package: bool) -> Module:
    """Return a module's definitions. Raises SyntaxError."""
    module = Module(name, name if is_package else name.rpartition(".")[0])
    module.body = ast.parse(source).body
    waiting = [*module.body]
    while waiting:
        statement = waiting.pop(0)
        if for_type_checkers(statement):
            waiting = [*statement.orelse, *waiting]
            continue
        names = bindings([statement], module.package)
        for alias, target in names.items():
            if target and target.name == WHOLE:
                module.starred.append(target.module)
            elif target:
                module.imported[alias] = target
        module.ran += [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
        if isinstance(statement, ast.Import | ast.ImportFrom) or is_docstring(statement):
            continue
        is_definition = names and isinstance(statement, DEFINING) and not registers(statement)
        defines = [*names, *([] if is_definition else [EFFECTS])]
        for each in defines:
            module.defined.setdefault(each, []).append(statement)
    return module


class Definitions:
    """Definitions of one package. find: returns the file of a module of the package, or None if there is none."""

    def __init__(self, package: str, find: Callable[[str], Path | None]) -> None:
        self.package, self._find = package, find
        self._modules: dict[str, Module | None] = {}
        self._written: dict[Reference, Written] = {}
        self._read: dict[Path, tuple[int, int]] = {}
        """Files that were read, with time of change and size."""

    def owns(self, module: str) -> bool:
        """Return whether a module belongs to the package."""
        return module.partition(".")[0] == self.package

    def module(self, name: str) -> Module | None:
        """Return a module of the package, or None if there is none of that name."""
        if name not in self._modules:
            path = self._find(name) if self.owns(name) else None
            is_package = path is not None and path.name == "__init__.py"
            if path is not None:
                self._read[path] = _state(path)
            self._modules[name] = None if path is None else parse(path.read_bytes(), name, is_package=is_package)
        return self._modules[name]

    def are_edited(self) -> bool:
        """Return whether a file has changed since it was read."""
        return any(_state(path) != state for path, state in list(self._read.items()))

    def digest(self, roots: Iterable[Reference], outside: Iterable[Module] = ()) -> str:
        """Return the SHA-256 of all code that some definitions, and modules outside of the package, depend on.

        A definition refers to others by content, not by name or location: a reference is the hash of its target,
        refined until all differences are distinguished (Weisfeiler and Leman 1968).
        """
        whole = {Reference(module.name, WHOLE): self._write_all(module) for module in outside}
        starts = self._starts(roots)
        written = self._reached([*starts, *(t for each in whole.values() for t in self._leads_to(each))]) | whole
        targets = {each: [self._targets(use) for use in code.references] for each, code in written.items()}
        colours, different = dict.fromkeys(written, ""), 0
        while len(set(colours.values())) != different:
            different = len(set(colours.values()))
            colours = {
                each: _sha256(code.text, *("+".join(sorted(colours[t] for t in use)) for use in targets[each]))
                for each, code in written.items()
            }
        return _sha256(*sorted(set(colours.values())), "from", *sorted(colours[each] for each in {*starts, *whole}))

    def reached(self, roots: Iterable[Reference]) -> set[Reference]:
        """Return all definitions that some definitions depend on, including themselves."""
        return set(self._reached(self._starts(roots)))

    def _starts(self, roots: Iterable[Reference]) -> list[Reference]:
        found: list[Reference] = []
        for root in roots:
            meant = self._follow(Imported(root.module, root.name), ())[0]
            targets = self._targets(meant) if isinstance(meant, Reference) and meant.name != WHOLE else []
            if not targets:
                raise LookupError(f"{root.module} defines no {root.name!r}.")
            found += targets
        return found

    def _reached(self, waiting: list[Reference]) -> dict[Reference, Written]:
        found: dict[Reference, Written] = {}
        while waiting:
            each = waiting.pop()
            if each not in found:
                found[each] = self.written(each)
                waiting += self._leads_to(found[each])
        return found

    def _leads_to(self, code: Written) -> list[Reference]:
        return [target for use in (*code.references, *code.others) for target in self._targets(use)]

    def _targets(self, use: Reference) -> list[Reference]:
        """Return the definitions that a reference stands for: one, all of a module, or none."""
        module = self.module(use.module)
        if module is None:
            return []
        if use.name != WHOLE:
            return [use] if use.name in module.defined else []
        found = [Reference(module.name, name) for name in module.defined if name not in NOT_CODE]
        for name in module.imported:
            meant = self._follow(Imported(module.name, name), ())[0]
            # An imported module is a location, not a dependency; but the modules of a package are parts of it.
            if isinstance(meant, Reference) and meant.name != WHOLE:
                found += self._targets(meant)
        return found + [each for name in self._parts(use.module) for each in self._targets(Reference(name, WHOLE))]

    def _parts(self, package: str) -> list[str]:
        """Return the modules in a package; none for a plain module."""
        path = self._find(package)
        if path is None or path.name != "__init__.py":
            return []
        inside = [each.stem for each in path.parent.glob("*.py") if each != path]
        inside += [each.parent.name for each in path.parent.glob("*/__init__.py")]
        return [f"{package}.{name}" for name in sorted(inside)]

    def written(self, each: Reference) -> Written:
        """Return a definition as canonical text; of a name that is not defined, fail."""
        if each not in self._written:
            module = self.module(each.module)
            assert module is not None, "only what is defined is reached"
            self._written[each] = self._canonical(module, each.name, module.defined[each.name])
        return self._written[each]

    def _write_all(self, module: Module) -> Written:
        statements = {
            id(each): each for name, found in module.defined.items() if name not in NOT_CODE for each in found
        }
        return self._canonical(module, module.name, list(statements.values()))

    def _canonical(self, module: Module, name: str, statements: Sequence[ast.stmt]) -> Written:
        def resolve(used: str, attributes: Sequence[str], binding: Binding) -> tuple[str | Reference, int] | None:
            return self._resolve(module, used, attributes, binding)

        writer = Writer(resolve, module.package, self.owns)
        for statement in statements:
            writer.write(statement)
        parts = [part if isinstance(part, str) else "\0" for part in writer.text]
        references = tuple(part for part in writer.text if isinstance(part, Reference))
        ran = [each for target in module.imported.values() for each in self._runs(target)] + module.ran
        packages = [module.name.rsplit(".", depth)[0] for depth in range(module.name.count(".") + 1)]
        others = [Reference(each, EFFECTS) for each in dict.fromkeys([*packages, *ran, *writer.imported])]
        both = module.imported.get(name)  # such as an imported name that is wrapped afterwards
        others += [each for each in [both and self._follow(both, ())[0]] if isinstance(each, Reference)]
        called = {call for statement in statements for call in _calls(statement)} if self.owns(module.name) else set()
        others += [Reference(module.package, WHOLE)] if called & LOADING else []
        others += [Reference(module.name, WHOLE)] if called & LOOKING_UP else []
        return Written(_sha256(name, "".join(parts)), references, tuple(others))

    def _runs(self, target: Imported) -> list[str]:
        """Return the modules of the package that an import runs."""
        if not self.owns(target.module):
            return []
        module = self.module(target.module)
        is_module = module and target.name not in {*module.defined, *module.imported, "", WHOLE}
        return [target.module, *([f"{target.module}.{target.name}"] if is_module else [])]

    def _resolve(
        self, module: Module, name: str, attributes: Sequence[str], binding: Binding
    ) -> tuple[str | Reference, int] | None:
        """Return the target of a name of a module; see `privbench.store.syntax.Resolve`."""
        if binding is not None:
            return self._follow(binding, attributes)
        if name in module.defined and self.owns(module.name):
            return Reference(module.name, name), 0
        if name in module.imported:
            return self._follow(module.imported[name], attributes)
        for starred in module.starred:
            found = self.module(starred)
            if found and (name in found.defined or name in found.imported):
                return self._follow(Imported(starred, name), attributes)
        strangers = sorted(starred for starred in module.starred if not self.owns(starred))
        return ("|".join((*strangers, name)), 0) if strangers and not hasattr(builtins, name) else None

    def _follow(self, target: Imported, attributes: Sequence[str]) -> tuple[str | Reference, int]:
        """Return the target of an import, and the number of attributes after it that belong to the target."""
        taken, seen = 0, set()
        while self.owns(target.module):
            if target in seen:  # modules that import a name from each other: neither defines it
                return Reference(target.module, WHOLE), taken
            seen.add(target)
            module = self.module(target.module)
            if not target.name:
                if taken == len(attributes) or module is None:
                    return Reference(target.module, WHOLE), taken
                target, taken = Imported(target.module, attributes[taken]), taken + 1
            elif module and target.name in module.defined:
                return Reference(target.module, target.name), taken
            elif module and target.name in module.imported:
                target = module.imported[target.name]
            elif self.module(f"{target.module}.{target.name}"):
                target = Imported(f"{target.module}.{target.name}")
            else:
                found = module and self._resolve(module, target.name, (), None)
                return found[0] if found else Reference(target.module, WHOLE), taken
        return ".".join(filter(None, (target.module, target.name))), taken


def _calls(statement: ast.stmt) -> set[str]:
    """Return the names of the functions that a statement calls, as written."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Call):
            found.add(_dotted(node if _is_vars(node) else node.func))
        elif isinstance(node, ast.Attribute) and node.attr == "modules" and _dotted(node) == "sys.modules":
            found.add("globals")
    return found


def _dotted(node: ast.AST) -> str:
    """Return a name or a chain of attributes as written, and another text for any other expression."""
    if isinstance(node, ast.Call):
        return f"{_dotted(node.func)}()"
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _is_vars(call: ast.Call) -> bool:
    return not call.args and isinstance(call.func, ast.Name) and call.func.id == "vars"


def _state(path: Path) -> tuple[int, int]:
    """Return the time of a file's last change, and its size; zeros if there is none."""
    found = path.stat() if path.exists() else None
    return (found.st_mtime_ns, found.st_size) if found else (0, 0)


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
