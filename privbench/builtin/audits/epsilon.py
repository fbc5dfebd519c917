"""Lower bounds of epsilon from the results of a membership attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import Measurement, component, option
from privbench.builtin.audits.attacked import cell_of, further
from privbench.builtin.audits.claimed import judged
from privbench.grid import scores_of
from privbench.plugins import resolve
from privbench.population import Claim
from privbench.stats import epsilon_bounds as auditing
from privbench.stats import intervals
from privbench.stats.intervals import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.api import Context
    from privbench.population import Population

DIGITS = 6
LOWER = (
    "epsilon_lower_bound holds at 95 % for neighbouring data sets that differ by replacing one example: members are a "
    "random half of the pool, and given a random matching of members with non-members each pair is a fair coin. Under "
    "adding or removing one example, replacing is two steps: halve it, at delta / (1 + e^half)."
)
IMPLIED = (
    "attack_implied_epsilon takes decisions on all examples of a model for independent ones, which they are not: it "
    "describes the attack, and proves nothing."
)
NOT_RANDOMISED = "Membership was not randomised, so that no lower bound follows; what the attack implies is reported."
UPWARDS = "A lower bound near 0 is no sign of privacy: a better attack may find more."


@component
class Epsilon:
    """Lower bounds of epsilon by an attack: the one-run auditor on each release, and the rates of the attack.

    epsilon_lower_bound: each target is audited separately (Steinke, Nasr & Jagielski 2023) on pairs of a member and a
    non-member, with guesses on the most certain 1 %, 5 %, 20 % and all of them (Bonferroni); the bound is the one
    reached by half of the targets, at a level that holds under any dependence between them. attack_implied_epsilon:
    true and false positive rates of pooled scores, at a threshold chosen on the targets of every other pair of models.
    """

    name: ClassVar[str] = "epsilon"
    paper: ClassVar[str] = (
        "Steinke, Nasr, Jagielski: Privacy Auditing with One (1) Training Run, NeurIPS 2023 (2305.08846); "
        "Jagielski, Ullman, Oprea: Auditing Differentially Private Machine Learning, NeurIPS 2020 (2006.07709)"
    )

    attack: str = option("lira:queries=1", "the membership attack, with its options; one query per example")
    delta: float = option(1e-5, "delta of the (epsilon, delta) to bound", ge=0, lt=1)
    randomised: bool = option(True, "whether membership was drawn at random, as in populations")

    def compared(self, population: Population) -> Sequence[Population]:
        """Return the population of the attack's shadows, if it is another one."""
        return further(population, resolve("attack", self.attack))

    def measure(self, population: Population, ctx: Context) -> Measurement:
        """Return the bounds.

        Raises CellFailed if the attack does not apply, and the errors of the attack.
        arrays: scores float64 and member bool, (targets, examples)
        """
        attack = resolve("attack", self.attack)
        cell, rows = cell_of(population, attack), []
        for target in cell.target_indices:
            rows += list(scores_of(cell, [(target, None)]))
            ctx.progress((target + 1) / population.models, f"target {target}")
        scores, member = np.stack(rows), np.stack([population.members(target) for target in cell.target_indices])
        claims = [Claim.of(facts) for facts in population.facts()]
        found = self.bounds(scores, member, ctx.rng("matching"), claims)
        return Measurement(found.values, found.tables, {"scores": scores, "member": member}, [*found.notes, UPWARDS])

    def bounds(
        self,
        scores: Array,
        member: Array,
        rng: np.random.Generator,
        claimed: float | Claim | Sequence[Claim | None] | None = None,
        claimed_delta: float | None = None,
    ) -> Measurement:
        """Return the bounds of epsilon from (targets, examples) scores and memberships, pairs of models adjacent.

        claimed: the claim of each target's release, or one claim for all; a number is an epsilon at `claimed_delta`
        """
        values: dict[str, Any] = {"delta": self.delta, **self._implied(scores, member)}
        notes, tables = [IMPLIED], dict[str, list[dict[str, Any]]]()
        guesses: list[auditing.Matched] = []
        if self.randomised:
            guesses = [auditing.matched(*each, rng) for each in zip(scores, member, strict=True)]
            level = auditing.level_of_each(len(guesses))
            runs = [auditing.audited(each.right, self.delta) for each in guesses]
            values["epsilon_lower_bound"] = _of_many(guesses, self.delta, level)
            values["epsilon_one_run"] = intervals.mean(np.array([run.epsilon for run in runs]), least=0.0)
            told_apart, pairs = np.array([each.right.mean() for each in guesses]), len(guesses[0].right)
            values["pairs_told_apart"] = intervals.share(told_apart, of=pairs)
            tables["By target"] = [
                {
                    "target": target,
                    "pairs": len(each.right),
                    "guesses": run.guesses,
                    "right": run.right,
                    "epsilon": rounded(run.epsilon, DIGITS),
                }
                for target, (each, run) in enumerate(zip(guesses, runs, strict=True))
            ]
            notes.insert(0, LOWER)
        else:
            values |= {"epsilon_lower_bound": None}
            notes.append(NOT_RANDOMISED)
        if isinstance(claimed, (int, float)):
            claimed = Claim.of({"epsilon": claimed} | ({} if claimed_delta is None else {"delta": claimed_delta}))
        claims = [claimed] * len(scores) if claimed is None or isinstance(claimed, Claim) else list(claimed)
        if any(claims):
            found = judged(claims, guesses)
            values |= found.values
            notes += found.notes
            for row, more in zip(tables.get("By target", []), found.tables.get("By target", []), strict=True):
                row.update(more)
        return Measurement(values, tables, notes=notes)

    def _implied(self, scores: Array, member: Array) -> dict[str, Any]:
        """Return bound and point estimate from pooled rates on half of the pairs, at the others' best threshold."""
        chosen_on = np.arange(len(scores)) // 2 % 2 == 0
        if chosen_on.all():
            return {"attack_implied_epsilon": None}
        cut = auditing.best_cut(scores[chosen_on].ravel(), member[chosen_on].ravel(), self.delta)
        flagged, inside = scores[~chosen_on] >= cut, member[~chosen_on]
        counts = (
            int((flagged & inside).sum()),
            int(inside.sum()),
            int((flagged & ~inside).sum()),
            int((~inside).sum()),
        )
        point = auditing.rates_point(*counts, self.delta)
        return {
            "attack_implied_epsilon": rounded(auditing.rates_bound(*counts, self.delta), DIGITS),
            "attack_implied_point": None if point is None else rounded(point, DIGITS),
            "attack_true_positives": f"{counts[0]} of {counts[1]}",
            "attack_false_positives": f"{counts[2]} of {counts[3]}",
        }


def _of_many(guesses: Sequence[auditing.Matched], delta: float, level: float) -> float:
    bounds = [auditing.audited(each.right, delta, level).epsilon for each in guesses]
    return rounded(auditing.of_many(bounds), DIGITS)
