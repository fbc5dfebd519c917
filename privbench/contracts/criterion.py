"""Criteria: what a defense says its facts must be; a leaderboard marks one whose facts miss them."""

from __future__ import annotations

import math

from privbench.contracts.declarations import declaration


@declaration
class Criterion:
    """What a fact of a defense's releases must be, for it to have done what it is meant to do."""

    fact: str
    meaning: str
    """What holds then, as in "moved examples rank in the safer half"."""
    least: float = -math.inf
    most: float = math.inf

    def missed(self, value: float) -> str:
        """Return how a value misses the criterion, as text; "" if it does not."""
        if self.least <= value <= self.most:
            return ""
        bounds = [f"at least {self.least:g}"] * (self.least > -math.inf) + [f"at most {self.most:g}"] * (
            self.most < math.inf
        )
        return f"{self.fact} is {value:.3g}, where {' and '.join(bounds)} would mean: {self.meaning}"
