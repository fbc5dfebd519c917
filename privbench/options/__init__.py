"""Components: frozen dataclasses whose fields are their options."""

from privbench.options.fields import Composite, build, component, option, options_of, spec

__all__ = ["Composite", "build", "component", "option", "options_of", "spec"]
