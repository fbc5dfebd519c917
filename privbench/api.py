"""Public API for plugins: the contracts of tasks, defenses, attacks and audits. Names only, no behaviour.

Arrays are NumPy's; images are (n, height, width, channels) with channels 1 or 3, tables are (n, features).
"""

from privbench.contracts.answers import Answers
from privbench.contracts.attack import Attack, MembershipAttack, ReconstructionAttack
from privbench.contracts.context import Context
from privbench.contracts.criterion import Criterion
from privbench.contracts.defense import Defense
from privbench.contracts.evidence import Evidence, Signal
from privbench.contracts.measurement import Measurement
from privbench.contracts.needs import Needs
from privbench.contracts.recipe import Recipe
from privbench.contracts.release import GRID, Prepared, Release
from privbench.contracts.shadows import ShadowOptions, shadow_signals
from privbench.contracts.task import Blueprint, Task
from privbench.contracts.traits import Traits
from privbench.contracts.version import VERSION
from privbench.data.dataset import Dataset, Examples
from privbench.options.fields import component, option
from privbench.population.audit import Audit

__all__ = [
    "GRID",
    "VERSION",
    "Answers",
    "Attack",
    "Audit",
    "Blueprint",
    "Context",
    "Criterion",
    "Dataset",
    "Defense",
    "Evidence",
    "Examples",
    "Measurement",
    "MembershipAttack",
    "Needs",
    "Prepared",
    "Recipe",
    "ReconstructionAttack",
    "Release",
    "ShadowOptions",
    "Signal",
    "Task",
    "Traits",
    "component",
    "option",
    "shadow_signals",
]
