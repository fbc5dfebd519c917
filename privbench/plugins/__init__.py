"""Plugins: installed components, and components from command-line texts."""

from privbench.plugins.loading import KINDS, catalogue, resolve

__all__ = ["KINDS", "catalogue", "resolve"]
