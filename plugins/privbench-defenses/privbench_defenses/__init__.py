"""Baseline defenses that reviewers ask for, as a plugin of privbench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.api import Defense


@hookimpl
def register_defenses() -> Sequence[type[Defense]]:
    """Return the defenses: first what changes the loss, then what changes training, then output filters."""
    from privbench_defenses.adversarial_regularisation import AdversarialRegularisation
    from privbench_defenses.confidence_penalty import ConfidencePenalty
    from privbench_defenses.crl import CRL
    from privbench_defenses.distillation import Distillation
    from privbench_defenses.early_stopping import EarlyStopping
    from privbench_defenses.hamp import Hamp
    from privbench_defenses.label_smoothing import LabelSmoothing
    from privbench_defenses.memguard import MemGuard
    from privbench_defenses.mixup import Mixup

    return [
        LabelSmoothing,
        ConfidencePenalty,
        EarlyStopping,
        Mixup,
        Distillation,
        CRL,
        AdversarialRegularisation,
        Hamp,
        MemGuard,
    ]
