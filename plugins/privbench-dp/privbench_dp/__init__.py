"""Differentially private baselines, as a plugin of privbench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.api import Defense


@hookimpl
def register_defenses() -> Sequence[type[Defense]]:
    """Return the defenses that come with a proven epsilon."""
    from privbench_dp.dp_augm import DPAuGM
    from privbench_dp.dp_sgd import DPSGD
    from privbench_dp.dp_vaegm import DPVaeGM
    from privbench_dp.pate import Pate

    return [DPSGD, DPAuGM, DPVaeGM, Pate]
