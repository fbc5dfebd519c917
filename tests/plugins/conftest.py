"""Plugins that a test makes and installs."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from privbench import hookimpl


@pytest.fixture
def plugin(monkeypatch):
    """Install a module as a plugin; returns its entry point."""

    def install(name, module=None, **hooks):
        module = module or f"fake_{name.replace('-', '_')}"
        made = types.ModuleType(module)
        for hook, function in hooks.items():
            setattr(made, hook, hookimpl(function) if callable(function) else function)
        monkeypatch.setitem(sys.modules, module, made)
        return EntryPoint(name, module, "privbench")

    return install
