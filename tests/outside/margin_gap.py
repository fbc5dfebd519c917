"""A membership attack for privbench, as a stranger would write it."""

from typing import ClassVar

import numpy as np

from privbench import hookimpl
from privbench.api import Needs, component, option


def margin(logits, labels):
    """Return how far the true class is ahead of the best other one, (n, q)."""
    true = np.take_along_axis(logits, labels[:, None, None], axis=-1)[..., 0]
    others = np.array(logits)
    np.put_along_axis(others, labels[:, None, None], -np.inf, axis=-1)
    return true - others.max(axis=-1)


@component
class MarginGap:
    """The target's margin, less the shadows' mean margin on the same example."""

    name: ClassVar[str] = "margin-gap"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    gap: float = option(1.0, "how much of the shadows' margin is taken off", ge=0)

    def score(self, evidence):
        """Return (n,) float64."""
        shadows = evidence.shadow_signals(margin).mean(axis=0)
        return (evidence.signals(margin) - self.gap * shadows)[:, 0]


@hookimpl
def register_attacks():
    """Add the attack to what privbench finds."""
    return [MarginGap]
