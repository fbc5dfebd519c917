"""Privacy levels: the rate at which an attack flags each example, and whether it differs from chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from privbench.api import Measurement, component, option
from privbench.builtin.audits import exposure, losses, resampling, success_rates
from privbench.builtin.audits.attacked import attacked, check_decisions, further
from privbench.builtin.defenses import valuation
from privbench.errors import CellFailed
from privbench.options import spec
from privbench.plugins import resolve
from privbench.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.builtin.audits.attacked import Attacked
    from privbench.population import Population


ATTACK = "m-entropy:thresholds=global"
"""The paper's attack, with one threshold for all: with one per class, distances would rank classes, not examples."""
ATTACK_HELP = "membership attack that asks one query per example, written as for --attack"


@component
class PrivacyLevels:
    """How often an attack flags each example, over all models trained on it and over all trained without it.

    R_in = hits / trials over the models trained on an example, R_out over the others, and A = R_in - R_out: an attack
    that flags everything has R_in = 1. (The paper trains on one set again and again, and only has R_in.) An example is
    safe, or risky, if all of its models, or `votes` of them, rank it in the lower, or upper, `quantile` of their
    members, by the signed distance of its score above the attack's threshold.
    """

    name: ClassVar[str] = "privacy-levels"
    paper: ClassVar[str] = (
        "Fake data training and transform by CycleGAN (3.1.1: R; 3.2: levels); half-split design, tests, intervals ours"
    )

    attack: str = option(ATTACK, ATTACK_HELP)
    distance: Literal["signed", "abs"] = option(
        "signed", "levels by the signed distance above the threshold, or (the paper) by the absolute distance"
    )
    quantile: float = option(0.5, "share of its members that each model votes safe, and risky", gt=0, le=0.5)
    votes: int | None = option(None, "votes for a level, more than half of an example's models (none: all)", ge=1)
    shown: int = option(10, "number of most exposed examples listed", ge=0)

    def compared(self, population: Population) -> Sequence[Population]:
        """Return where the attack's shadows come from, if that is another defense.

        Raises CellFailed for an unsuitable attack or number of votes.
        """
        attack = resolve("attack", self.attack)
        check_decisions(population, attack)
        exposure.check_distance(attack, self.distance)
        self._check_votes(population.models // 2)
        return further(population, attack)

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Attack every model, count, rank and compare; docs/audits.md explains the values.

        Raises CellFailed for an unsuitable attack (see `attacked`), BadOption for votes without levels.
        """
        attack = resolve("attack", self.attack)
        found = attacked(population, attack)
        above = exposure.above_threshold(found.scores, attack)
        u = exposure.above_threshold(found.scores, attack, self.distance)
        level = self.levels(u, found, ctx)
        ctx.progress(0.4, "resampling")
        each = exposure.Exposure.of(found, above)
        trials = success_rates.trials_of(found.member)
        rows = exposure.level_rows(level, found, exposure.level_chance(len(u) // 2, self.quantile, self.votes))
        values: exposure.Values = {
            "attack": spec(attack),
            "trials": trials,
            "r_in": intervals.accuracy(found.decisions, found.member),
            "r_out": intervals.accuracy(found.decisions, ~found.member),
            "advantage": exposure.advantage(found),
            **{f"{name}_share": exposure.share(level == number) for number, name in enumerate(valuation.LEVELS)},
            **exposure.spread(found.decisions, found.member, "in", ctx.rng("in")),
            **exposure.spread(found.decisions, ~found.member, "out", ctx.rng("out")),
            **exposure.agreement(found, above, ctx.rng("agreement")),
        }
        ctx.progress(0.8, "losses")
        by_role = losses.of_population(population)
        tables = {
            "Privacy levels": rows,
            "How often examples are flagged": exposure.histogram_rows(found),
            "Most exposed examples": each.most(self.shown, population.dataset.role("pool").y),
        }
        arrays = {**each.arrays(found), "level": level, **losses.histograms(by_role)}
        return Measurement({**values, **losses.distances(by_role)}, tables, arrays, self._notes(trials))

    def levels(self, u: Array, found: Attacked, ctx: Context) -> Array:
        """Return (n,) int8 levels: each pair of models is one voter, as it ranks every example once."""
        self._check_votes(len(u) // 2)
        places = resampling.whole_places(resampling.by_pair(u, found.member), ctx.rng("ties"))
        return valuation.levels(places, self.quantile, self.votes)

    def _check_votes(self, pairs: int) -> None:
        if self.votes is not None and not pairs < 2 * self.votes <= 2 * pairs:
            raise CellFailed(
                f"votes={self.votes}: an example is a member of {pairs} of the models; "
                f"choose {pairs // 2 + 1} to {pairs} votes, or another number of models."
            )

    def _notes(self, trials: int) -> list[str]:
        low, high = success_rates.posterior(trials, trials)
        return [
            (
                f"R rests on {trials} trials an example: one that was always flagged has R_in between {low:.2f} and "
                f"{high:.2f}. The most exposed examples are listed for being extreme; new trials would find less."
            ),
            (
                "The same models give R_in and the distance, so that part of spearman_signed and spearman_abs is "
                "built in; the _split ones take each from other models."
            ),
            (
                "Some examples are easy for every model, trained on them or not: levels and the dispersion of R_in "
                "show that examples differ; what leaks is A, which need not be largest where R_in is."
            ),
            "ks and w1 between non-members and test examples are what two sets that no model was trained on give.",
        ]
