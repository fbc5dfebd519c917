"""Grid of tasks x defenses x attacks: planning, training, scoring."""

from privbench.grid.cell import Cell, needs_of, threshold_of, without_decisions, without_shadows

__all__ = ["Cell", "needs_of", "threshold_of", "without_decisions", "without_shadows"]
