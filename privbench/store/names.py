"""Names that statements bind, and the imports that bind them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Imported:
    """What an import binds a name to: a module, or a name in one."""

    module: str
    name: str = ""


Binding: TypeAlias = "Imported | None"
"""Of a name in a function: what it imports, or None for a variable."""


def bindings(statements: Iterable[ast.AST], package: str) -> dict[str, Binding]:
    """Return the names that statements bind in their own scope, at any depth, with the import where it is one."""
    found: dict[str, Binding] = {}
    declared: set[str] = set()
    waiting: list[ast.AST] = [*statements]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name | ast.Constant):  # first, and not looked into: most nodes are one of these
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] = None
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= dict(imports(node, package))
        elif isinstance(node, ast.Global):
            declared |= set(node.names)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found[node.name] = None
            continue  # what is inside has a scope of its own
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found[node.name] = None
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found[node.rest] = None
        elif isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
            continue
        waiting += node.orelse if for_type_checkers(node) else ast.iter_child_nodes(node)
    return {name: binding for name, binding in found.items() if name not in declared}


def imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Imported]]:
    """Yield the names that an import statement binds; `*` for those of `from module import *`."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield (alias.asname, Imported(alias.name)) if alias.asname else (top, Imported(top))
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        kept = parents[: len(parents) - node.level + 1]
        base = ".".join([*kept, base] if base else kept)
    for alias in node.names:
        yield alias.asname or alias.name, Imported(base, alias.name)


def for_type_checkers(node: ast.AST) -> TypeGuard[ast.If]:
    """Return whether a statement is `if TYPE_CHECKING:`."""
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING"
