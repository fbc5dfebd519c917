"""Registration of the built-in components, like that of any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.contracts.attack import Attack
    from privbench.contracts.defense import Defense
    from privbench.contracts.task import Task
    from privbench.population.audit import Audit


@hookimpl
def register_tasks() -> Sequence[type[Task]]:
    """Return the data sets, each with a model and a recipe."""
    from privbench.builtin.tasks import BUILTIN

    return BUILTIN


@hookimpl
def register_defenses() -> Sequence[type[Defense]]:
    """Return undefended training, and the defenses."""
    from privbench.builtin.defenses.dp_critic import DPCritic
    from privbench.builtin.defenses.fake_data import FakeData
    from privbench.builtin.defenses.relaxloss import RelaxLoss
    from privbench.builtin.defenses.selena import Selena
    from privbench.builtin.defenses.transform import Transform
    from privbench.population.ce import CrossEntropy

    return [CrossEntropy, RelaxLoss, Selena, FakeData, Transform, DPCritic]


@hookimpl
def register_attacks() -> Sequence[type[Attack]]:
    """Return the attacks on a model's predictions, then those on published synthetic examples."""
    from privbench.builtin.attacks.gan_leaks import GanLeaks
    from privbench.builtin.attacks.inversion import Inversion
    from privbench.builtin.attacks.lira import LiRA
    from privbench.builtin.attacks.nearest_neighbour import NearestNeighbour
    from privbench.builtin.attacks.real_vs_fake import RealVsFake
    from privbench.builtin.attacks.rmia import RMIA
    from privbench.builtin.attacks.threshold import Confidence, Correctness, Entropy, ModifiedEntropy

    on_answers = [Correctness, Confidence, Entropy, ModifiedEntropy, LiRA, RMIA, Inversion]
    return [*on_answers, GanLeaks, NearestNeighbour, RealVsFake]


@hookimpl
def register_audits() -> Sequence[type[Audit]]:
    """Return the audits."""
    from privbench.builtin.audits.data_breakdown import DataBreakdown
    from privbench.builtin.audits.epsilon import Epsilon
    from privbench.builtin.audits.expected_privacy_loss import ExpectedPrivacyLoss
    from privbench.builtin.audits.generation_quality import GenerationQuality
    from privbench.builtin.audits.overlap import Overlap
    from privbench.builtin.audits.privacy_levels import PrivacyLevels
    from privbench.builtin.audits.utility_matrix import UtilityMatrix
    from privbench.builtin.audits.validation_transfer import ValidationTransfer

    return [
        PrivacyLevels,
        Overlap,
        DataBreakdown,
        UtilityMatrix,
        ValidationTransfer,
        ExpectedPrivacyLoss,
        GenerationQuality,
        Epsilon,
    ]
