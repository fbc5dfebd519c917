"""Source of code without a file: cells of a notebook, and the values from which functions make classes."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import re
import sys
import types
from typing import TYPE_CHECKING, Any

from privbench.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
NOTEBOOKS_OWN = re.compile(r"_+|_i*\d*|_[iod]h|In|Out|__.*__")
"""Names bound by IPython, such as inputs and results."""
DEEP = 20


def typed_in(module: str, name: str) -> bytes:
    """Return the source of a class without a file, as one module.

    It consists of the cells of the class and of the code it uses, the imports of other cells, and current values.
    Raises PluginError if there is no source.
    """
    space = vars(sys.modules[module])
    cells, lines = dict[str, str](), dict[str, str]()
    waiting, seen = [name], {name}
    while waiting:
        word = waiting.pop()
        value = space.get(word)
        names = [type(value).__name__] if type(value).__module__ == module else []
        if (line := _import(word, value, module)) is not None:
            lines[word] = line
        else:
            for cell in _cells(value, space):
                cells[cell] = "".join(linecache.getlines(cell))
                names += _names(cells[cell])
            if word != name and not inspect.isroutine(value):
                now = made_with(value) if isinstance(value, type) else described(value)
                lines[word] = f"{word} = {now!r}"
        new = {each for each in names if each in space and not NOTEBOOKS_OWN.fullmatch(each)} - seen
        seen |= new
        waiting += sorted(new)
    if not any(cells.values()):
        raise PluginError(
            f"The source of {name!r} cannot be found, so what it makes could not be told from what another "
            f"version of it makes; write it into a file."
        )
    return "\n".join([*sorted(set(cells.values())), *(lines[word] for word in sorted(lines))]).encode()


def made_with(cls: type) -> str:
    """Return the values from which a function made a class: its attributes, and the closures of its methods."""
    own = {name: value for name, value in vars(cls).items() if not _is_generated(name, value)}
    return f"{cls.__qualname__} {described(own)}"


def described(value: Any, depth: int = 0) -> str:
    """Return a text that differs for different values and is the same in every process."""
    if isinstance(value, PLAIN) or depth == DEEP:
        return repr(value) if isinstance(value, PLAIN) else ""
    inner = functools.partial(described, depth=depth + 1)
    if isinstance(value, type | types.ModuleType):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    if isinstance(value, dict):
        content = f"{[(inner(key), inner(each)) for key, each in value.items()]}"
    elif isinstance(value, list | tuple | set | frozenset):
        content = f"{sorted(map(inner, value)) if isinstance(value, set | frozenset) else list(map(inner, value))}"
    elif functions := list(_functions(value)):
        content = f"{[_function(each, inner) for each in functions]}"
    elif hasattr(value, "__array__"):
        content = _array(value)
    else:
        content = f"{getattr(value, '__name__', '')} {inner(getattr(value, '__dict__', None))}"
    return f"{type(value).__module__}.{type(value).__qualname__} {content}"


def _array(value: Any) -> str:
    import numpy as np

    array = np.asarray(value)
    content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    return f"{array.dtype} {array.shape} {hashlib.sha256(content).hexdigest()}"


def _function(function: types.FunctionType, inner: Callable[[Any], str]) -> str:
    code = function.__code__
    constants = [each for each in code.co_consts if isinstance(each, PLAIN)]
    around = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    around = [each for each in around if each is not function and not isinstance(each, types.ModuleType)]
    what = f"{function.__module__}.{function.__qualname__}"
    return f"{what} {code.co_code.hex()} {code.co_names} {constants} {list(map(inner, around))}"


def _import(word: str, value: Any, module: str) -> str | None:
    """Return the import statement of an imported name of a notebook, or None for a name defined in it."""
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {word}"
    place, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if isinstance(place, str) and place != module and not list(_functions_of(value, module)) and name.isidentifier():
        return f"from {place} import {name} as {word}"
    return None


def _cells(value: Any, space: dict[str, Any]) -> list[str]:
    """Return the names of the cells with the functions of a class, or with a function."""
    found = [*_functions(value)]
    for each in vars(value).values() if isinstance(value, type) else ():
        found += _functions(each)
    return sorted({each.__code__.co_filename for each in found if each.__globals__ is space})


def _functions_of(value: Any, module: str) -> Iterator[types.FunctionType]:
    yield from (each for each in _functions(value) if each.__module__ == module)


def _functions(value: Any) -> Iterator[types.FunctionType]:
    """Yield the functions inside properties, methods, partials and decorators that set `__wrapped__`."""
    if isinstance(value, property):
        for each in (value.fget, value.fset):
            yield from _functions(each)
    elif isinstance(value, functools.partial | functools.cached_property):
        yield from _functions(value.func)
    elif isinstance(value, classmethod | staticmethod | types.MethodType):
        yield from _functions(value.__func__)
    elif not isinstance(value, type) and inspect.isroutine(inspect.unwrap(value) if callable(value) else None):
        inside = inspect.unwrap(value)
        if isinstance(inside, types.FunctionType):
            yield inside


def _names(source: str) -> list[str]:
    return sorted({node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)})


def _is_generated(name: str, value: Any) -> bool:
    """Return whether an attribute of a class was generated by Python or pydantic."""
    return (name.startswith("__") and not list(_functions(value))) or any(
        each.__code__.co_filename.startswith("<string") or "pydantic" in each.__module__ for each in _functions(value)
    )


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading is the question
    except ValueError:
        return True
    return False
