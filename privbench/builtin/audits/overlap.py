"""Overlap: whether equally trained models rank the same examples as risky, and whether two losses agree on them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from privbench.api import Measurement, component, option
from privbench.builtin.audits import exposure, fitted, resampling, same_members
from privbench.builtin.audits.attacked import attacked, check_decisions, further
from privbench.builtin.audits.privacy_levels import ATTACK, ATTACK_HELP
from privbench.builtin.defenses import valuation
from privbench.errors import CellFailed
from privbench.options import spec
from privbench.plugins import resolve
from privbench.stats.intervals import clopper_pearson, estimate, rounded, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.population import Population
    from privbench.stats.intervals import Estimate

Rows: TypeAlias = "list[dict[str, Any]]"

LOSSES = ("ce", "relaxloss")
"""The paper's two losses: it reports that rankings vary with the first, and agree with the second."""
BINS = {"top50": (0.5, 1.0), "top25": (0.75, 1.0)}
"""The riskiest half and quarter of a ranking, whose overlaps are values of the audit; the table has all bins."""


@component
class Overlap:
    """Whether models rank examples alike: overlap of bins over all rankings (eq. 1), and rank correlations.

    A pair of models, trained on complementary halves, ranks the whole pool once: each example among the members of the
    model trained on it, by the signed distance of its score above the attack's threshold. Any two rankings thus compare
    models on examples that both were trained on, and no model with its partner, with which it shares none. Rankings are
    taken from the population, from ce and from relaxloss, and compared within each and between any two. With
    members=fixed (the paper) all models are trained on the same half, which each of them ranks.
    """

    name: ClassVar[str] = "overlap"
    paper: ClassVar[str] = (
        "Fake data training and transform by CycleGAN (3.2: eq. 1, Fig. 3); half-split rankings, chance, intervals ours"
    )

    attack: str = option(ATTACK, ATTACK_HELP)
    members: same_members.Members = option("halves", same_members.HELP)
    distance: Literal["signed", "abs"] = option(
        "signed", "rank by the signed distance above the threshold, or (the paper) by the absolute distance"
    )

    def compared(self, population: Population) -> Sequence[Population]:
        """Return the populations of ce and relaxloss, and the populations of the attack's shadows.

        Raises CellFailed for an unsuitable attack or number of models.
        """
        _check_models(population)
        attack, ranked = resolve("attack", self.attack), _ranked(population)
        exposure.check_distance(attack, self.distance)
        if population.fixed:
            same_members.check(attack)
            return [each for each in ranked.values() if each != population]
        check_decisions(population, attack)
        needed = [*ranked.values(), *(each for one in ranked.values() for each in further(one, attack))]
        return [each for each in dict.fromkeys(needed) if each != population]

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Rank and compare; docs/audits.md explains the values.

        Raises CellFailed with too few models, and for an unsuitable attack (see `attacked`).
        """
        _check_models(population)
        attack, ranked = resolve("attack", self.attack), _ranked(population)
        inside, outside = {}, {}
        for number, (name, each) in enumerate(ranked.items()):
            ctx.progress(0.5 * number / len(ranked), name)
            inside[name], outside[name] = _rankings(each, attack, self.distance)
        ctx.progress(0.5, "resampling")
        places = {name: resampling.whole_places(each, ctx.rng(f"ties {name}")) for name, each in inside.items()}
        count = population.models // (1 if population.fixed else 2)
        values: exposure.Values = {"attack": spec(attack), "rankings": count}
        values |= {f"chance_{name}": rounded(valuation.overlap_null(count, *edges), 9) for name, edges in BINS.items()}
        for name, each in ranked.items():
            values |= {f"{which}_{name}": value for which, value in fitted.accuracies(each).items()}
            values |= {f"overlap_{label}_{name}": overlap(places[name], *edges) for label, edges in BINS.items()}
            values[f"spearman_{name}"] = within(inside[name], ctx.rng(f"within {name}"))
            values[f"spearman_{name}_nonmembers"] = within(outside[name], ctx.rng(f"non-members {name}"))
        same = "same_seeds" if population.fixed else "same_members"
        for one, other in combinations(ranked, 2):
            rng = ctx.rng(f"between {one} {other}")
            values[f"spearman_{one}_{other}"] = between(inside[one], inside[other], rng)
            values[f"spearman_{one}_{other}_{same}"] = between(inside[one], inside[other], rng, same=True)
            values[f"shared_top50_{one}_{other}"] = shared(places[one], places[other], *BINS["top50"], rng)
        tables = {f"Overlap of {count} rankings by {name}": bin_rows(each) for name, each in places.items()}
        for half, upper in (("upper", True), ("lower", False)):
            title = f"Where those in the {half} half of every {{1}} ranking lie in the rankings of {{0}}".format(
                *LOSSES
            )
            tables[title] = where_rows(places[LOSSES[1]], places[LOSSES[0]], upper=upper)
        arrays = {f"ranking_{name}": each for name, each in inside.items()}
        return Measurement(values, tables, arrays, (*NOTES, *(same_members.NOTES[1:] if population.fixed else ())))


NOTES = (
    (
        "chance is the overlap of rankings that have nothing to do with each other, w^(M - 1) for M rankings and a bin "
        "of width w."
    ),
    (
        "That examples rank alike among non-members as well (spearman_..._nonmembers) shows how far they differ in "
        "difficulty, which no training is to blame for."
    ),
    "Intervals take the examples as the sample and the models as given.",
)


def _rankings(population: Population, attack: Any, distance: str) -> tuple[Array, Array]:
    """Return the rankings of members, and those of non-members, as fractions."""
    if not population.fixed:
        found = attacked(population, attack)
        u = exposure.above_threshold(found.scores, attack, distance)
        return resampling.by_pair(u, found.member), resampling.by_pair(u, ~found.member)
    found, _ = same_members.attacked(population, attack)
    u, member = exposure.above_threshold(found.scores, attack, distance), found.member[0]
    return resampling.by_model(u[:, member]), resampling.by_model(u[:, ~member])


def _check_models(population: Population) -> None:
    if population.models < 4 and not population.fixed:  # noqa: PLR2004 - two rankings, of a pair of models each
        raise CellFailed("Two rankings take two pairs of models: use at least 4 models (--models 4).")


def _ranked(population: Population) -> dict[str, Population]:
    """Return by name the populations whose rankings are compared: ce, relaxloss, and the audited one if neither."""
    each = [replace(population, defense=resolve("defense", name)) for name in LOSSES]
    return {spec(one.defense): one for one in dict.fromkeys([*each, population])}


def overlap(places: Array, start: float, end: float) -> Estimate:
    """Return eq. 1 for one bin of (rankings, n) ranks, with the Clopper-Pearson interval over the examples in a bin.

    n/a for an empty bin.
    """
    n = places.shape[1]
    size = int(((places[0] >= start * n) & (places[0] < end * n)).sum())
    if not size:
        return unavailable("no example fits into this bin")
    value = valuation.overlap(places, start, end)
    return estimate(value, *clopper_pearson(round(value * size), size), size)


def bin_rows(places: Array) -> Rows:
    """Return a row for each bin: overlap of all rankings, its interval, and the overlap expected by chance."""
    rows: Rows = []
    for start, end in valuation.BINS:
        found, chance = overlap(places, start, end), valuation.overlap_null(len(places), start, end)
        row = {"from": start, "to": end, "overlap": found.value, "low": found.low, "high": found.high}
        rows.append({**row, "by chance": rounded(chance, 9)})
    return rows


def within(rankings: Array, rng: np.random.Generator) -> Estimate:
    """Return the mean Spearman correlation of any two of (rankings, n) rankings, bootstrapped over examples."""
    above = np.triu_indices(len(rankings), 1)

    def mean(rows: Array) -> float:
        return float(resampling.spearman(rankings[:, rows], rankings[:, rows])[above].mean())

    return resampling.over_examples(mean, rankings.shape[1], rng, reason="a ranking is all ties")


def between(one: Array, other: Array, rng: np.random.Generator, *, same: bool = False) -> Estimate:
    """Return the mean Spearman correlation of rankings by two defenses, bootstrapped over examples.

    The rankings are by different pairs of models, whose members differ, as those of two rankings by one defense do; or,
    if `same`, by the same pairs, which were trained on the same members, and with the same seeds.
    """
    chosen = np.eye(len(one), dtype=bool) == same

    def mean(rows: Array) -> float:
        return float(resampling.spearman(one[:, rows], other[:, rows])[chosen].mean())

    return resampling.over_examples(mean, one.shape[1], rng, reason="a ranking is all ties")


def shared(one: Array, other: Array, start: float, end: float, rng: np.random.Generator) -> Estimate:
    """Return the share of a bin of a ranking by one defense that is in the same bin of a ranking by another.

    one, other: (rankings, n) ranks

    The mean over rankings by different pairs of models, bootstrapped over examples; by chance, the width of the bin.
    """
    n = one.shape[1]
    first, second = ((each >= start * n) & (each < end * n) for each in (one, other))
    different = ~np.eye(len(one), dtype=bool)

    def mean(rows: Array) -> float:
        a, b = first[:, rows].astype(float), second[:, rows].astype(float)
        return float((a @ b.T)[different].mean() / max(a.sum(axis=1).mean(), 1.0))

    return resampling.over_examples(mean, n, rng, reason="no rankings to compare")


def where_rows(chosen: Array, among: Array, *, upper: bool = True) -> Rows:
    """Return, by tenths, the ranks in `among` of the examples in the upper, or lower, half of all `chosen` rankings.

    chosen, among: (rankings, n) ranks

    A row has the share of those examples in one tenth, averaged over `among`; chance: 0.1.
    """
    n = chosen.shape[1]
    inside = ((chosen >= n / 2) == upper).all(axis=0)
    tenths = np.minimum(among[:, inside] * 10 // n, 9)
    count = max(tenths.size, 1)
    return [
        {"from": tenth / 10, "to": (tenth + 1) / 10, "share": rounded(float((tenths == tenth).sum() / count), 9)}
        for tenth in range(10)
    ]
