"""Benchmark attacks on, and defenses of, the privacy of machine-learning training data.

Start reading in `privbench.run`; write plugins against `privbench.api`; test them with `privbench.testing`.
Importing this package imports neither torch nor any plugin.
"""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("privbench")
"""Marks a function of a plugin as one of the hooks of `privbench.plugins.hookspecs`."""

__all__ = ["__version__", "hookimpl"]
