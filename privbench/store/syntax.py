"""Canonical text of Python code: what a piece of code does, without how it is written down or where it lies.

Left out are comments, docstrings, annotations, line breaks, and the paths of imports within a package; names that stand
for the package's own definitions become references to them. The text is the same on every Python from 3.10 on.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from privbench.store.names import COMPREHENSIONS, FUNCTIONS, Binding, bindings, for_type_checkers, imports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SKIPPED = {"ctx", "kind", "type_comment", "type_params", "annotation", "returns", "lineno", "col_offset"}
TYPED = {"register", "validate_call"}
"""Decorators (functools', pydantic's) of functions whose annotations decide what they do."""
METHODS = {"property", "cached_property", "classmethod", "staticmethod", "abstractmethod"}
"""Decorators of methods that may stand anywhere in a class."""
CAST = ("type", "value")
"""The arguments of `typing.cast`."""
MARKED = ("ClassVar", "InitVar", "KW_ONLY")
"""Annotations of a class that change which fields a dataclass has."""


@dataclass(frozen=True)
class Reference:
    """A use of something that is defined elsewhere: a name of a module, or with no name the module as a whole."""

    module: str
    name: str = ""


Text: TypeAlias = "list[str | Reference]"
Resolve: TypeAlias = "Callable[[str, Sequence[str], Binding], tuple[str | Reference, int] | None]"
"""(name, the attributes that follow it, its import within the function) -> what it stands for, and how many of the
attributes that takes up; None for a name that is no definition's and no import's, such as a built-in's."""


@dataclass
class _Scope:
    names: dict[str, Binding]
    is_class: bool = False


@dataclass
class Writer:
    """Writes statements as canonical text; `package` is that of the module, for relative imports."""

    resolve: Resolve
    package: str
    own: Callable[[str], bool]
    """Whether a module belongs to the package, so that its path is left out."""
    text: Text = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    """Modules of the package that are imported within."""
    _scopes: list[_Scope] = field(default_factory=list)

    def write(self, node: ast.AST | None) -> None:
        """Append the text of one node."""
        if node is None or _does_nothing(node):
            return
        (self._writers.get(type(node)) or Writer._plain)(self, node)

    def _plain(self, node: ast.AST, skipped: frozenset[str] = frozenset()) -> None:
        self.text.append(f"({type(node).__name__}")
        for name, value in ast.iter_fields(node):
            if name in SKIPPED or name in skipped or value is None or value == []:
                continue
            self.text.append(f" {name}=")
            self._value(value)
        self.text.append(")")

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.write(value)
        elif isinstance(value, list):
            self.text.append("[")
            for item in value:
                if item is None:
                    self.text.append("None")
                elif isinstance(item, ast.AST) and _does_nothing(item):
                    continue
                else:
                    self._value(item)
                self.text.append(",")
            self.text.append("]")
        else:
            self.text.append(ascii(value))

    def _constant(self, node: ast.Constant) -> None:
        self.text.append(f"{type(node.value).__name__}:{node.value!a}")

    def _if(self, node: ast.If) -> None:
        if for_type_checkers(node):
            for statement in node.orelse:
                self.write(statement)
        else:
            self._plain(node)

    def _import(self, node: ast.Import | ast.ImportFrom, *, only: bool = False) -> None:
        """Write an import; where it is the only one that can bind its names, they tell of it themselves."""
        for alias, target in imports(node, self.package):
            if self.own(target.module):
                self.imported.append(target.module)
            elif not only:
                self.text.append(f"(import {target.module} {target.name} as {alias})")

    def _name(self, node: ast.Name | ast.Attribute) -> None:
        root, attributes = _chain(node)
        if root is None or not isinstance(root.ctx, ast.Load):
            self._plain(node)
            return
        local, binding = self._local(root.id)
        found = None if local and binding is None else self.resolve(root.id, attributes, binding)
        if found is None:
            self._plain(node)
            self._also_outside(root.id, attributes, local=local)
            return
        meant, taken = found
        self.text += ["(use ", meant, *(f".{name}" for name in attributes[taken:]), ")"]

    def _also_outside(self, name: str, attributes: Sequence[str], *, local: bool) -> None:
        """Refer to what a class's own name stands for around it, as the second does in `size = size`."""
        if local and self._scopes[-1].is_class and name in self._scopes[-1].names:
            found = self.resolve(name, attributes, None)
            self.text += [found[0]] if found else []

    def _call(self, node: ast.Call) -> None:
        """Write a call; one of `typing.cast` does nothing."""
        is_cast = len(node.args) == len(CAST) and _last_name(node.func) == "cast"
        found = self.resolve("cast", (), None) if is_cast and isinstance(node.func, ast.Name) else None
        if is_cast and (ast.unparse(node.func) == "typing.cast" or (found and found[0] == "typing.cast")):
            self.write(node.args[1])
        else:
            self._plain(node)

    def _local(self, name: str) -> tuple[bool, Binding]:
        """Return whether a name is bound within the function, and the import that binds it."""
        for depth, scope in enumerate(reversed(self._scopes)):
            if name in scope.names and (depth == 0 or not scope.is_class):
                return True, scope.names[name]
        return False, None

    def _joined(self, node: ast.JoinedStr) -> None:
        """Write an f-string; Pythons differ in how they cut its constant parts."""
        self.text.append("(f ")
        constant = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                constant += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue)
            self.text.append(f"{constant!a} {{{part.conversion} ")
            constant = ""
            self.write(part.value)
            if isinstance(part.format_spec, ast.JoinedStr) and part.format_spec.values:
                self._joined(part.format_spec)
            self.text.append("}")
        self.text.append(f"{constant!a})")

    def _annotated(self, node: ast.AnnAssign) -> None:
        if not (self._scopes and self._scopes[-1].is_class):
            if node.value:
                self._plain(ast.Assign(targets=[node.target], value=node.value))
            return
        mark = next((mark for mark in MARKED if mark in ast.unparse(node.annotation)), "")
        self.text.append(f"(AnnAssign {mark} ")
        self.write(node.target)
        self.write(node.value)
        self.text.append(")")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments, body = node.args, node.body if isinstance(node.body, list) else [node.body]
        for outer in [*getattr(node, "decorator_list", []), *arguments.defaults, *arguments.kw_defaults]:
            self.write(outer)  # these are evaluated outside
            self.text.append(";")
        if _is_typed(node):
            self.text += [ascii(ast.unparse(each.annotation)) for each in _arguments(arguments) if each.annotation]
        bound: dict[str, Binding] = dict.fromkeys(each.arg for each in _arguments(arguments))
        bound |= bindings(body, self.package)
        self._scopes.append(_Scope(bound))
        self.text.append(f"({type(node).__name__} {getattr(node, 'name', '')} ")
        self._plain(arguments, frozenset({"defaults", "kw_defaults"}))
        self.text.append(f"/{len(arguments.defaults)}/{[default is not None for default in arguments.kw_defaults]}")
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._import(statement, only=True)
            else:
                self.write(statement)
        self.text.append(")")
        self._scopes.pop()

    def _class(self, node: ast.ClassDef) -> None:
        for outer in [*node.decorator_list, *node.bases, *(each.value for each in node.keywords)]:
            self.write(outer)
            self.text.append(";")
        self._scopes.append(_Scope(bindings(node.body, self.package), is_class=True))
        self.text.append(f"(ClassDef {node.name} {len(node.bases)} {[each.arg for each in node.keywords]} ")
        methods = _methods(node)
        for statement in [*(each for each in node.body if each not in methods), *methods]:
            self.write(statement)
        self.text.append(")")
        self._scopes.pop()

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        names = [each.id for part in node.generators for each in ast.walk(part.target) if isinstance(each, ast.Name)]
        self.write(node.generators[0].iter)  # this is evaluated outside
        self._scopes.append(_Scope(dict.fromkeys(names)))
        self._plain(node)
        self._scopes.pop()

    _writers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        **dict.fromkeys((ast.Import, ast.ImportFrom), _import),
        **dict.fromkeys((ast.Name, ast.Attribute), _name),
        ast.Constant: _constant,
        ast.If: _if,
        ast.Call: _call,
        ast.JoinedStr: _joined,
        ast.AnnAssign: _annotated,
        **dict.fromkeys((*FUNCTIONS, ast.Lambda), _function),
        ast.ClassDef: _class,
        **dict.fromkeys(COMPREHENSIONS, _comprehension),
    }


def is_docstring(node: ast.AST) -> bool:
    """Return whether a statement is nothing but a constant, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _does_nothing(node: ast.AST) -> bool:
    is_statement = isinstance(node, ast.stmt)  # first: most nodes are expressions
    return is_statement and (is_docstring(node) or isinstance(node, ast.Pass) or "overload" in _decorators(node))


def _is_typed(node: ast.AST) -> bool:
    """Return whether the annotations of a function decide what it does."""
    return bool(_decorators(node) & TYPED)


def _methods(node: ast.ClassDef) -> list[ast.stmt]:
    """Return the methods of a class of which the order means nothing, by name."""
    names = [name for each in node.body for name in bindings([each], "")]
    found = {
        each.name: each
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and names.count(each.name) == 1
        and _decorators(each) <= METHODS
        and all(isinstance(value, ast.Constant) for value in [*each.args.defaults, *each.args.kw_defaults] if value)
    }
    return [found[name] for name in sorted(found)]


def _decorators(node: ast.AST) -> set[str]:
    """Return the last names of a definition's decorators."""
    decorators = node.decorator_list if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else []
    calls = (each.func if isinstance(each, ast.Call) else each for each in decorators)
    return {_last_name(each) for each in calls}


def _last_name(node: ast.expr) -> str:
    """Return what stands after the last dot of an expression."""
    if isinstance(node, ast.Name | ast.Attribute):  # quickly, for this is asked of every call
        return node.id if isinstance(node, ast.Name) else node.attr
    return ast.unparse(node).rpartition(".")[2]


def registers(node: ast.AST) -> bool:
    """Return whether a definition is handed to another by its decorator, as by `@function.register`."""
    return "register" in _decorators(node)


def _chain(node: ast.Name | ast.Attribute) -> tuple[ast.Name | None, list[str]]:
    """Return the name that a chain such as `a.b.c` begins with, and its attributes."""
    attributes: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    return (inner if isinstance(inner, ast.Name) else None), attributes[::-1]


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    lone = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *lone]
