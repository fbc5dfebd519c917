"""Privacy claims in a record: the facts of the release with the weakest guarantee."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np

from privbench.population.claims import EPSILON, number, weakest
from privbench.records.parts import Claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def of_record(releases: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], Claims | None]:
    """Return the facts of releases for a record, and their claims; None if none states an epsilon.

    releases: as returned by `Population.facts`

    With claims, all facts are those of the one release with the weakest guarantee, because numbers of different
    releases do not belong together. Without claims they are means over the releases that state them.
    """
    place = weakest(releases)
    if place is None:
        names = sorted({name for facts in releases for name in facts})
        return {name: float(np.mean([facts[name] for facts in releases if name in facts])) for name in names}, None
    epsilons = [number(facts[EPSILON]) for facts in releases if EPSILON in facts]
    claims = Claims(
        release=place,
        releases=len(epsilons),
        epsilon_smallest=min(epsilons),
        epsilon_median=statistics.median(epsilons),
        epsilon_largest=max(epsilons),
    )
    return dict(sorted(releases[place].items())), claims
