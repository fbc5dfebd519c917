"""Grid of tasks x defenses x attacks: planning, training, scoring."""

from privbench.grid.cell import Cell, needs_of, threshold_of, without_decisions, without_shadows
from privbench.grid.declared import try_all
from privbench.grid.named import decided, scores_of

__all__ = [
    "Cell",
    "decided",
    "needs_of",
    "scores_of",
    "threshold_of",
    "try_all",
    "without_decisions",
    "without_shadows",
]
