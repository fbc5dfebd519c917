"""The four hooks of a plugin. Each returns component classes; objects do the work, hooks only register.

A plugin is a distribution with an entry point in the group `privbench` that names a module:

    [project.entry-points.privbench]
    my-plugin = "my_plugin"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.contracts.attack import Attack
    from privbench.contracts.defense import Defense
    from privbench.contracts.task import Task
    from privbench.population.audit import Audit

hookspec = pluggy.HookspecMarker("privbench")


@hookspec
def register_tasks() -> Sequence[type[Task]]:  # type: ignore[empty-body]
    """Return the task classes of this plugin."""


@hookspec
def register_defenses() -> Sequence[type[Defense]]:  # type: ignore[empty-body]
    """Return the defense classes of this plugin."""


@hookspec
def register_attacks() -> Sequence[type[Attack]]:  # type: ignore[empty-body]
    """Return the attack classes of this plugin."""


@hookspec
def register_audits() -> Sequence[type[Audit]]:  # type: ignore[empty-body]
    """Return the audit classes of this plugin."""
