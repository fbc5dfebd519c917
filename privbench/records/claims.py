"""Privacy claims in a record: the facts of the release with the weakest guarantee."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np

from privbench.errors import CellFailed
from privbench.population.claims import DELTA, EPSILON, number, weakest
from privbench.records.parts import Claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def of_record(releases: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], Claims | None]:
    """Return the facts of releases for a record, and their claims; None if none states an epsilon.

    releases: as returned by `Population.facts`

    With claims, all facts are those of the one release with the weakest guarantee, because numbers of different
    releases do not belong together. Without claims they are means over the releases that state them. A fact that is NaN
    states nothing, but an epsilon that is NaN is no guarantee, like an infinite one.

    Raises CellFailed for an epsilon below 0, or a delta outside [0, 1].
    """
    stated = [_stated(facts) for facts in releases]
    place = weakest(stated)
    if place is None:
        names = sorted({name for facts in stated for name in facts})
        return {name: float(np.mean([facts[name] for facts in stated if name in facts])) for name in names}, None
    epsilons = [number(facts[EPSILON]) for facts in stated if EPSILON in facts]
    claims = Claims(
        release=place,
        releases=len(epsilons),
        epsilon_smallest=min(epsilons),
        epsilon_median=statistics.median(epsilons),
        epsilon_largest=max(epsilons),
    )
    return dict(sorted(stated[place].items())), claims


def _stated(facts: Mapping[str, float]) -> dict[str, float]:
    """Return what the facts of a release state."""
    stated = {name: value for name, value in facts.items() if not math.isnan(value)}
    if EPSILON in facts:
        stated[EPSILON] = number(facts[EPSILON])
    for name, most in ((EPSILON, math.inf), (DELTA, 1.0)):
        if not 0 <= stated.get(name, 0) <= most:
            raise CellFailed(f"a release states {name} {stated[name]:g}; it must lie in [0, {most:g}].")
    return stated
