import ast
import hashlib

import pytest

from privbench.store.syntax import Reference, Writer

OWN = {"helper": "pkg.helper", "np": "numpy"}
EVERYTHING = '''
import os.path
from . import sibling as s
from pkg.helper import helper

@helper(1)
class A(Base, metaclass=M):
    """Docs."""
    x: int = 1
    y: ClassVar[int] = -2.5e-7
    def f(self, a, /, b=1_000, *c, d, e=None, **g) -> "A":
        """Docs."""
        global counter
        with open(a) as file, lock:
            yield from (i async for i in b if i)
        try:
            raise ValueError(f"{a!r:>{b}} {{x}} {d=}" "more" f"{e:.3f}") from None
        except (OSError, *c) as error:
            del error
        while (n := a @ b) is not None:
            x[1:2, ..., ::3] += lambda *z: z or not a
        match a:
            case {"k": [1, *rest], **others} if rest: ...
            case A(x=1) | None as it: pass
        return {**g, 1: {2, 3j}, b"b": r"\\n" 'x'}
async def h(): return [await q for q in helper]
'''


def resolve(name, attributes, binding):
    if binding is not None:
        return f"{binding.module}.{binding.name}", 0
    return (Reference(OWN[name], name), 0) if name in OWN else None


def text(source):
    writer = Writer(resolve, "pkg", lambda module: module.startswith("pkg"))
    for statement in ast.parse(source).body:
        writer.write(statement)
    return writer.text


def test_the_text_is_the_same_on_every_python():
    joined = "|".join(map(str, text(EVERYTHING)))
    assert hashlib.sha256(joined.encode()).hexdigest()[:16] == "eb0e9bd13aeceba7", joined


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1  # comment", "x=(1)"),
        ('def f():\n    "Docs."\n    return 1', 'def f():\n    "Other docs."\n\n    return 1'),
        ("def f(a: int) -> int: return a", "def f(a): return a"),
        ("def f():\n    y: int = 1", "def f():\n    y: float = 1"),
        ("x = 'a' 'b'", 'x = "ab"'),
        ("x = f'{y}' 'b' 'c'", "x = f'{y}bc'"),
        ("def f():\n    from pkg.one import a\n    return 1", "def f():\n    from pkg.two import a\n    return 1"),
        ("class A:\n    x = 1\n    'About x.'", "class A:\n    x = 1"),
        ("if x:\n    'docs'\n    y = 1", "if x:\n    y = 1"),
        ("def f():\n    if TYPE_CHECKING:\n        import a\n    return 1", "def f(): return 1"),
    ],
)
def test_what_does_nothing_changes_nothing(one, other):
    assert text(one) == text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = '1'", "x = b'1'"),
        ("def f(a=1, b=2): pass", "def f(a, b=2): pass"),
        ("def f(*, a=1, b): pass", "def f(*, a, b=1): pass"),
        ("def f(a): pass", "def f(*a): pass"),
        ("class A(B): pass", "class A(metaclass=B): pass"),
        ("class A:\n    x: int = 1", "class A:\n    x: ClassVar[int] = 1"),
        ("class A:\n    x: int = 1", "class A:\n    x = 1"),
        ("x = f'{y!r}'", "x = f'{y!s}'"),
        ("x = f'{y:.1f}'", "x = f'{y:.2f}'"),
        ("x = [a for a in b]", "x = {a for a in b}"),
        ("x = a if b else c", "x = b if a else c"),
        ("import numpy", "import scipy as numpy"),
        ("f(helper)", "f(other)"),
        ("f(*a)", "f(a)"),
        ("f(a=b)", "f(b=b)"),
    ],
)
def test_what_does_something_changes_the_text(one, other):
    assert text(one) != text(other)


def test_a_variable_is_no_reference_and_a_class_attribute_hides_nothing_from_methods():
    assert Reference("pkg.helper", "helper") not in text("def f(helper): return helper")
    assert Reference("pkg.helper", "helper") not in text("def f():\n    helper = 1\n    return lambda: helper")
    assert Reference("pkg.helper", "helper") not in text("x = [helper for helper in y]")
    assert Reference("pkg.helper", "helper") in text("def f(x=helper): helper = x")
    assert Reference("pkg.helper", "helper") in text("class A:\n    helper = 1\n    def f(self): return helper")
    assert Reference("pkg.helper", "helper") in text("def f():\n    global helper\n    helper = helper + 1")


def test_only_what_type_checkers_alone_see_is_left_out():
    assert text("if not TYPE_CHECKING:\n    x = 1") != []
    assert text("if typing.TYPE_CHECKING:\n    x = 1") == []
    assert text("if TYPE_CHECKING:\n    x = 1\nelse:\n    x = 2") == text("x = 2")


def test_names_of_other_packages_are_written_by_their_path():
    assert "numpy.linalg" in "".join(map(str, text("def f():\n    from numpy import linalg as l\n    return l.norm")))
