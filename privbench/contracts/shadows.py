"""Common parts of attacks with shadow models: their threat model and their signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from privbench.contracts.needs import Needs
from privbench.errors import CellFailed
from privbench.options.fields import option

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence, Signal


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ShadowOptions:
    """The training of the shadows, and the queries to them and the target."""

    shadows: Literal["adaptive", "undefended", "released"] = option(
        "adaptive",
        "shadows trained with the target's whole defense; without any; on the target's synthetic examples",
    )
    inputs: Literal["original", "transformed"] = option(
        "original", "query inputs: the examples, or the examples after each model's own data stage"
    )

    @property
    def needs(self) -> Needs:
        """Logits, and shadow models."""
        return Needs(shadows=self.shadows, inputs=self.inputs)


def shadow_signals(evidence: Evidence, signal: Signal) -> tuple[Array, Array]:
    """Return a signal of every shadow, (s, n, q) float64, and its membership, (s, n) bool.

    Raises CellFailed if the target has no shadows.
    """
    if len(evidence.shadow_logits) == 0:
        raise CellFailed("This attack needs shadow models, but there are none: use at least 4 models (--models 4).")
    return evidence.shadow_signals(signal), evidence.shadow_member
