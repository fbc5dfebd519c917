"""Plugins: installed components, and components from command-line texts."""

from privbench.plugins.loading import KINDS, catalogue, resolve
from privbench.plugins.named import NamedAttack, NamedDefense

__all__ = ["KINDS", "NamedAttack", "NamedDefense", "catalogue", "resolve"]
