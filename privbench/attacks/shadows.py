"""What every attack that studies shadow models asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from privbench.errors import CellFailed

if TYPE_CHECKING:
    from privbench.evidence import Evidence, Signal

Array: TypeAlias = npt.NDArray[Any]


def shadow_signals(evidence: Evidence, signal: Signal) -> tuple[Array, Array]:
    """Return a signal of every shadow, (s, n, q) float64, and its membership, (s, n) bool.

    Raises CellFailed where the target has no shadows.
    """
    if len(evidence.shadow_logits) == 0:
        raise CellFailed("This attack needs shadow models, but there are none: use at least 4 models (--models 4).")
    return evidence.shadow_signals(signal), evidence.shadow_member
