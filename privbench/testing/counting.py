"""Count attack, which must never work: it counts the shadows trained on an example, without using any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Needs, component
from privbench.testing.base import auc, auc_se, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence

SIGMAS = 3.0


@component
class CountOnly:
    """Count attack: the score is minus the number of shadows trained on the example; models are not used.

    It must find nothing. Otherwise the population itself reveals membership, by keeping the target's partner among the
    shadows, or by using every example in exactly half of the models (docs/design.md, rule 1).
    """

    name: ClassVar[str] = "count-only"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64."""
        counts: Array = evidence.shadow_member.sum(axis=0, dtype=np.float64)
        return -counts


def check_population_membership(targets: Sequence[tuple[Array, Array]], salt: str = "") -> None:
    """Raise AssertionError if the membership of the shadows alone reveals that of the target.

    targets: for each target, the membership of its shadows, (s, n) bool, and its own, (n,) bool.
    salt: salt of the population, for the message.
    """
    under = f" (salt {salt})" if salt else ""
    scores = [-shadow_member.sum(axis=0, dtype=np.float64) for shadow_member, _ in targets]
    found = float(np.mean([auc(each, member) for each, (_, member) in zip(scores, targets, strict=True)]))
    within = SIGMAS * auc_se(targets[0][1])
    require(
        abs(found - 0.5) <= within,
        f"Counting the shadows that contain an example reaches AUC {found:.3f}; expected 0.5 within "
        f"{within:.3f}: the population reveals membership (is the target's partner among its shadows?){under}.",
    )
