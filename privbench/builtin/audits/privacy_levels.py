"""Privacy levels: the rate at which an attack flags each example, and whether it differs from chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from privbench.api import Measurement, component, option
from privbench.builtin.audits import exposure, fitted, losses, resampling, same_members, success_rates
from privbench.builtin.audits.attacked import Attacked, attacked, check_decisions, further
from privbench.builtin.defenses import valuation
from privbench.errors import CellFailed
from privbench.options import spec
from privbench.plugins import resolve
from privbench.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.population import Population


ATTACK = "m-entropy:thresholds=global"
"""The paper's attack, with one threshold for all: with one per class, distances would rank classes, not examples."""
ATTACK_HELP = "membership attack that asks one query per example, written as for --attack"
LEAKS = (
    "Some examples are easy for every model, trained on them or not: levels and the dispersion of R_in show that "
    "examples differ; what leaks is A, which need not be largest where R_in is."
)


@component
class PrivacyLevels:
    """How often an attack flags each example, over all models trained on it and over all trained without it.

    R_in = hits / trials over the models trained on an example, R_out over the others, and A = R_in - R_out: an attack
    that flags everything has R_in = 1. An example is safe, or risky, if all of its models, or `votes` of them, rank it
    in the lower, or upper, `quantile` of their members, by the signed distance of its score above the attack's
    threshold. With members=fixed (the paper) all models are trained on the same half, generated examples included:
    R_in is that of its examples, R_out that of the others, and no example has both.
    """

    name: ClassVar[str] = "privacy-levels"
    paper: ClassVar[str] = (
        "Fake data training and transform by CycleGAN (3.1.1: R; 3.2: levels); half-split design, tests, intervals ours"
    )

    attack: str = option(ATTACK, ATTACK_HELP)
    members: same_members.Members = option("halves", same_members.HELP)
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
        exposure.check_distance(attack, self.distance)
        if population.fixed:
            same_members.check(attack)
            self._check_votes(self._voters(population))
            return ()
        check_decisions(population, attack)
        self._check_votes(self._voters(population))
        return further(population, attack)

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Attack every model, count, rank and compare; docs/audits.md explains the values.

        Raises CellFailed for an unsuitable attack (see `attacked`), BadOption for votes without levels.
        """
        attack, made = resolve("attack", self.attack), None
        if population.fixed:
            found, made = same_members.attacked(population, attack)
        else:
            found = attacked(population, attack)
        above = exposure.above_threshold(found.scores, attack)
        u = exposure.above_threshold(found.scores, attack, self.distance)
        if population.fixed:
            level, made_level = self.fixed_levels(u, found.member[0], made, ctx)
        else:
            level, made_level = self.levels(u, found, ctx), None
        ranked = level >= 0
        ctx.progress(0.4, "resampling")
        each = exposure.Exposure.of(found, above)
        trials = int(found.member.sum(axis=0).max())
        chance = exposure.level_chance(self._voters(population), self.quantile, self.votes)
        by_role = losses.of_population(population)
        values: exposure.Values = {
            "attack": spec(attack),
            "trials": trials,
            "r_in": intervals.accuracy(found.decisions, found.member),
            "r_out": intervals.accuracy(found.decisions, ~found.member),
            "advantage": exposure.advantage(found),
            **{f"{name}_share": exposure.share(level[ranked] == at) for at, name in enumerate(valuation.LEVELS)},
            **exposure.spread(found.decisions, found.member, "in", ctx.rng("in")),
            **exposure.spread(found.decisions, ~found.member, "out", ctx.rng("out")),
            **exposure.agreement(found, above, ctx.rng("agreement")),
            **fitted.of_population(population, by_role, ctx.rng("augmented")),
        }
        tables = {
            "Privacy levels": exposure.level_rows(
                level[ranked], Attacked(*(part[:, ranked] for part in found)), chance
            ),
            "How often examples are flagged": exposure.histogram_rows(found, None if made is None else made.decisions),
            "Most exposed examples": each.most(self.shown, population.dataset.role("pool").y),
        }
        arrays = {**each.arrays(found), "level": level, **losses.histograms(by_role)}
        if made is not None and made_level is not None:
            values |= exposure.generated(made, made_level, ctx.rng("generated"))
            tables["Privacy levels of generated examples"] = exposure.level_rows(made_level, made, chance)
            arrays |= {"R_generated": made.decisions.mean(axis=0), "level_generated": made_level}
        ctx.progress(0.8, "losses")
        return Measurement({**values, **losses.distances(by_role)}, tables, arrays, self._notes(trials, population))

    def levels(self, u: Array, found: Attacked, ctx: Context) -> Array:
        """Return (n,) int8 levels: each pair of models is one voter, as it ranks every example once."""
        self._check_votes(len(u) // 2)
        places = resampling.whole_places(resampling.by_pair(u, found.member), ctx.rng("ties"))
        return valuation.levels(places, self.quantile, self.votes)

    def fixed_levels(self, u: Array, member: Array, made: Attacked | None, ctx: Context) -> tuple[Array, Array | None]:
        """Return (n,) int8 levels, -1 of non-members, and those of generated examples, if any.

        Each model is one voter, which ranks all that it was trained on: members and generated examples together.
        """
        self._check_votes(len(u))
        far = None if made is None else np.abs(made.scores) if self.distance == "abs" else made.scores
        trained = u[:, member] if far is None else np.concatenate([u[:, member], far], axis=1)
        places = resampling.whole_places(resampling.by_model(trained), ctx.rng("ties"))
        found = valuation.levels(places, self.quantile, self.votes)
        level, count = np.full(len(member), -1, dtype=np.int8), int(member.sum())
        level[member] = found[:count]
        return level, None if far is None else found[count:]

    @staticmethod
    def _voters(population: Population) -> int:
        return population.models if population.fixed else population.models // 2

    def _check_votes(self, voters: int) -> None:
        if self.votes is not None and not voters < 2 * self.votes <= 2 * voters:
            raise CellFailed(
                f"votes={self.votes}: an example is a member of {voters} of the models; "
                f"choose {voters // 2 + 1} to {voters} votes, or another number of models."
            )

    def _notes(self, trials: int, population: Population) -> list[str]:
        low, high = success_rates.posterior(trials, trials)
        own = same_members.NOTES if population.fixed else (LEAKS,)
        return [
            (
                f"R rests on {trials} trials an example: one that was always flagged has R_in between {low:.2f} and "
                f"{high:.2f}. The most exposed examples are listed for being extreme; new trials would find less."
            ),
            (
                "The same models give R_in and the distance, so that part of spearman_signed and spearman_abs is "
                "built in; the _split ones take each from other models."
            ),
            *own,
            "ks and w1 between non-members and test examples are what two sets that no model was trained on give.",
        ]
