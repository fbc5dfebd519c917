"""Membership attacks that reviewers ask for, as a plugin of privbench; one module per method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.api import Attack


@hookimpl
def register_attacks() -> Sequence[type[Attack]]:
    """Return the attacks; importing their modules loads neither torch nor scikit-learn."""
    from privbench_attacks.attack_p import AttackP
    from privbench_attacks.attack_r import AttackR
    from privbench_attacks.calibrated_loss import CalibratedLoss
    from privbench_attacks.label_only import LabelOnly
    from privbench_attacks.loss_trajectory import LossTrajectory
    from privbench_attacks.quantile import Quantile
    from privbench_attacks.risk_score import RiskScore
    from privbench_attacks.shadow_nn import ShadowNN

    return [AttackP, AttackR, CalibratedLoss, Quantile, RiskScore, ShadowNN, LabelOnly, LossTrajectory]
