"""Cheating attacks that use only the public API, to test the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Needs, component
from privbench.population.membership import members
from privbench.seeds import derive, numpy_generator
from privbench.stats import signals

if TYPE_CHECKING:
    from privbench.contracts.evidence import Evidence
    from privbench.testing.base import Array

SEEDS = 10
_remembered: dict[bytes, Array] = {}
"""Membership of every shadow seen so far, by its predictions."""


@component
class GuessedSeed:
    """Recomputes the halves of small run seeds: the pair that is missing among the shadows is the target's.

    The first number of `evidence.rng` identifies the model of the pair. It finds every member of any model under the
    public salt, and under a random one no more than an honest attack.
    """

    name: ClassVar[str] = "guessed-seed"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64."""
        shadows, n = evidence.shadow_member.shape
        seen = {row.tobytes() for row in evidence.shadow_member}
        drawn = evidence.rng("which").random()
        for seed in range(SEEDS):
            missing = {i for i in range(shadows + 2) if members(seed, i, n).tobytes() not in seen}
            for index in missing if len(missing) == 2 else ():  # noqa: PLR2004 - a pair
                if numpy_generator(derive(seed, "evidence", index), "attack", "which").random() == drawn:
                    return members(seed, index, n).astype(np.float64)
        return honest(evidence)


@component
class RememberedShadows:
    """Remembers the membership of all shadows, and recognises a target that was a shadow of an earlier one.

    No salt helps: an attack on the models of a whole population sees each of them as a shadow.
    """

    name: ClassVar[str] = "remembered-shadows"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64."""
        for logits, member in zip(evidence.shadow_logits, evidence.shadow_member, strict=True):
            _remembered[np.ascontiguousarray(logits).tobytes()] = member
        known = _remembered.get(np.ascontiguousarray(evidence.logits).tobytes())
        return honest(evidence) if known is None else known.astype(np.float64)


def honest(evidence: Evidence) -> Array:
    """Return the target's logit-scaled confidence minus the shadows' mean."""
    shadows = evidence.shadow_signals(signals.phi)[:, :, 0]
    found: Array = evidence.signals(signals.phi)[:, 0] - np.sort(shadows, axis=0).mean(axis=0)
    return found
