"""Grid of tasks x defenses x attacks: planning, training, scoring."""

from privbench.grid.cell import Cell, needs_of, threshold_of, without_decisions, without_shadows
from privbench.grid.scoring import decided

__all__ = ["Cell", "decided", "needs_of", "threshold_of", "without_decisions", "without_shadows"]
