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
    """Return the attacks on a model's answers, then those on published synthetic examples."""
    from privbench.attacks.gan_leaks import GanLeaks
    from privbench.attacks.inversion import Inversion
    from privbench.attacks.lira import LiRA
    from privbench.attacks.nearest_neighbour import NearestNeighbour
    from privbench.attacks.real_vs_fake import RealVsFake
    from privbench.attacks.rmia import RMIA
    from privbench.attacks.threshold import Confidence, Correctness, Entropy, ModifiedEntropy

    on_answers = [Correctness, Confidence, Entropy, ModifiedEntropy, LiRA, RMIA, Inversion]
    return [*on_answers, GanLeaks, NearestNeighbour, RealVsFake]


@hookimpl
def register_audits() -> Sequence[type[Audit]]:
    """Return the measurements that are no attack."""
    from privbench.audits.data_breakdown import DataBreakdown
    from privbench.audits.epsilon import Epsilon
    from privbench.audits.expected_privacy_loss import ExpectedPrivacyLoss
    from privbench.audits.generation_quality import GenerationQuality
    from privbench.audits.overlap import Overlap
    from privbench.audits.privacy_levels import PrivacyLevels
    from privbench.audits.utility_matrix import UtilityMatrix
    from privbench.audits.validation_transfer import ValidationTransfer

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
