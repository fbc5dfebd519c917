"""The grid: tasks x defenses x attacks, planned, made, scored."""

from privbench.grid.cell import Cell, needs_of, threshold_of, without_decisions, without_shadows

__all__ = ["Cell", "needs_of", "threshold_of", "without_decisions", "without_shadows"]
