from __future__ import annotations

import inspect

import pluggy
import pytest

from privbench.plugins import hookspecs
from privbench.plugins.loading import BUILTIN_MODULE, GROUP, KINDS

manager = pluggy.PluginManager(GROUP)
manager.add_hookspecs(hookspecs)
HOOKS = sorted(name for name in dir(manager.hook) if not name.startswith("_"))


def test_every_hook_registers_one_kind_of_component():
    assert sorted(KINDS.values()) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_only_register(hook):
    """A hook takes nothing, is implemented by any number of plugins, and says what it returns."""
    spec = getattr(manager.hook, hook).spec
    assert spec.argnames == ()
    assert not spec.opts["firstresult"]
    assert not spec.opts["historic"]
    assert spec.function.__doc__.startswith("Return the ")


@pytest.mark.parametrize("hook", HOOKS)
def test_the_builtins_implement_every_hook_with_its_signature(hook):
    builtins = __import__(BUILTIN_MODULE, fromlist=[hook])
    assert inspect.signature(getattr(builtins, hook)) == inspect.signature(getattr(hookspecs, hook))
