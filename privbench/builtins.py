"""The built-in components, registered as any plugin registers its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.api import Attack, Audit, Defense, Task


@hookimpl
def register_tasks() -> Sequence[type[Task]]:
    """Return the data sets, each with a model and a recipe."""
    from privbench.tasks import BUILTIN

    return BUILTIN


@hookimpl
def register_defenses() -> Sequence[type[Defense]]:
    """Return undefended training, and the defenses."""
    from privbench.defenses.ce import CrossEntropy
    from privbench.defenses.dp_critic import DPCritic
    from privbench.defenses.fake_data import FakeData
    from privbench.defenses.relaxloss import RelaxLoss
    from privbench.defenses.selena import Selena
    from privbench.defenses.transform import Transform

    return [CrossEntropy, RelaxLoss, Selena, FakeData, Transform, DPCritic]


@hookimpl
def register_attacks() -> Sequence[type[Attack]]:
    """Return the threshold attacks and LiRA."""
    from privbench.attacks.lira import LiRA
    from privbench.attacks.threshold import Confidence, Correctness, Entropy, ModifiedEntropy

    return [Correctness, Confidence, Entropy, ModifiedEntropy, LiRA]


@hookimpl
def register_audits() -> Sequence[type[Audit]]:
    """Return nothing: no audit is built in yet."""
    return []
