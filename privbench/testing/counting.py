"""Count-only attack, which must never work: it counts the shadows that contain an example, and ignores all models."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Needs, component
from privbench.testing.base import Array, auc, auc_se, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.contracts.evidence import Evidence

SIGMAS = 3.0


@component
class CountOnly:
    """Scores minus the number of shadows trained on an example, without any model.

    It must find nothing. If it does, the population itself reveals memberships: by including the target's partner in
    the shadows, or by using every example in exactly half of the models (docs/design.md, rule 1).
    """

    name: ClassVar[str] = "count-only"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64."""
        counts: Array = evidence.shadow_member.sum(axis=0, dtype=np.float64)
        return -counts


def check_population_membership(targets: Sequence[tuple[Array, Array]], salt: str = "") -> None:
    """Raise AssertionError if the shadows' memberships alone reveal the target's.

    targets: for each target, its shadows' membership (s, n) bool and its own (n,) bool
    salt: of their halves, for the message
    """
    under = f" (salt {salt})" if salt else ""
    scores = [-shadow_member.sum(axis=0, dtype=np.float64) for shadow_member, _ in targets]
    found = float(np.mean([auc(each, member) for each, (_, member) in zip(scores, targets, strict=True)]))
    within = SIGMAS * auc_se(targets[0][1])
    require(
        abs(found - 0.5) <= within,
        f"Counting the shadows that contain an example reaches AUC {found:.3f}, but must not leave 0.5 by more than "
        f"{within:.3f}: the population tells who is a member (is the target's partner among its shadows?){under}.",
    )
