"""Attacks that cheat through the public API, and are honest if the cheat does not work: test cases for the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privbench.api import Needs, component
from privbench.population.membership import members
from privbench.seeds import derive, numpy_generator
from privbench.stats import signals

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence

SEEDS = 10
_remembered: dict[bytes, Array] = {}
"""Bytes of a shadow's answers -> its membership, for all shadows seen so far."""


@component
class GuessedSeed:
    """Cheat that redraws the splits of small run seeds: the pair that is missing among the shadows is the target's.

    The first number of `evidence.rng` reveals which model of the pair it is. Under the public salt it finds all members
    of any model, under a random salt no more than an honest attack.
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
    """Cheat that remembers the membership of all shadows, and recognises a target that was a shadow before.

    A salt does not prevent it: an attack on all models of a population sees each of them as a shadow.
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
    """Return the logit-scaled confidence of the target minus the mean of the shadows."""
    shadows = evidence.shadow_signals(signals.phi)[:, :, 0]
    found: Array = evidence.signals(signals.phi)[:, 0] - np.sort(shadows, axis=0).mean(axis=0)
    return found
