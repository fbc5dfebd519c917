"""Plugins: what is installed, and components from what was typed."""

from privbench.plugins.loading import KINDS, catalogue, resolve

__all__ = ["KINDS", "catalogue", "resolve"]
