import ast

from privbench.store.names import bindings, imports


def test_bindings_are_those_of_the_statements_own_scope():
    source = "for a, (b, *c) in d:\n  import e.f as g, h.i\n  def j(k): l = 1\n  class m: n = 1\n  o = [p for p in q]"
    assert set(bindings(ast.parse(source).body, "")) == {"a", "b", "c", "g", "h", "j", "m", "o"}


def test_relative_imports_lead_to_the_modules_they_mean():
    def meant(source, package):
        return [(name, target.module, target.name) for name, target in imports(ast.parse(source).body[0], package)]

    assert meant("from . import a", "x.y") == [("a", "x.y", "a")]
    assert meant("from ..b import c as d", "x.y") == [("d", "x.b", "c")]
    assert meant("import a.b, c.d as e", "x") == [("a", "a", ""), ("e", "c.d", "")]
