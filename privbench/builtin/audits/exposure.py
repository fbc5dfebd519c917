"""Exposure of single examples by an attack's decisions: levels, tables, agreement with scores. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from privbench.builtin.audits import resampling, success_rates
from privbench.builtin.defenses.valuation import LEVELS
from privbench.errors import CellFailed
from privbench.grid import threshold_of
from privbench.stats import intervals, metrics

if TYPE_CHECKING:
    from privbench.aliases import Array
    from privbench.builtin.audits.attacked import Attacked
    from privbench.stats.intervals import Estimate

Values: TypeAlias = "dict[str, Estimate | float | int | str | None]"
Rows: TypeAlias = "list[dict[str, Any]]"


def above_threshold(scores: Array, attack: Any, distance: str = "signed") -> Array:
    """Return the signed distance of scores above the attack's own threshold, of the same shape; abs: absolute.

    Rankings by signed distance within a model do not depend on the threshold: without one, scores are returned.
    Raises CellFailed for abs without a threshold.
    """
    check_distance(attack, distance)
    threshold = threshold_of(attack)
    above = scores - (0.0 if threshold is None else threshold)
    return np.asarray(np.abs(above) if distance == "abs" else above)


def check_distance(attack: Any, distance: str) -> None:
    """Raise CellFailed for abs with an attack that has no threshold of its own."""
    if distance == "abs" and threshold_of(attack) is None:
        raise CellFailed(f"distance=abs takes an attack with a threshold of its own; {attack.name!r} has none.")


@dataclass(frozen=True)
class Exposure:
    """Success rates of single examples, (n,) each."""

    r_in: Array
    """Share of the models trained on the example that flag it; nan without any."""
    r_out: Array
    """The same for models trained without it."""
    distance: Array
    """Signed distance of its score above the threshold, averaged over the models trained on it."""

    @classmethod
    def of(cls, found: Attacked, above: Array) -> Exposure:
        """Average (models, n) decisions, and (models, n) distances above the threshold."""
        return cls(
            success_rates.mean_where(found.decisions, found.member),
            success_rates.mean_where(found.decisions, ~found.member),
            success_rates.mean_where(above, found.member),
        )

    @property
    def advantage(self) -> Array:
        """A = R_in - R_out."""
        return self.r_in - self.r_out

    def arrays(self, found: Attacked) -> dict[str, Array]:
        """Return all rates for figures and further analysis, with Beta(1, 1) intervals."""
        arrays = {"R_in": self.r_in, "R_out": self.r_out, "A": self.advantage, "distance": self.distance}
        for side, where in (("in", found.member), ("out", ~found.member)):
            ends = success_rates.posterior((found.decisions & where).sum(axis=0), where.sum(axis=0))
            arrays |= dict(zip((f"R_{side}_low", f"R_{side}_high"), ends, strict=True))
        return arrays

    def most(self, shown: int, labels: Array) -> Rows:
        """Return the most exposed examples: by A, then by the distance; those without A are omitted.

        If no example has an A, because all models have the same members: by R_in.
        """
        compared = bool(np.isfinite(self.advantage).any())
        by = self.advantage if compared else self.r_in
        known = np.flatnonzero(np.isfinite(by))
        order = known[np.lexsort((-self.distance[known], -by[known]))][:shown]
        columns = {"example": order, "label": labels[order], "R_in": self.r_in[order]}
        columns |= {"R_out": self.r_out[order], "A": self.advantage[order]} if compared else {}
        return success_rates.rows_of({**columns, "distance": self.distance[order]})


def spread(decisions: Array, where: Array, side: str, rng: np.random.Generator) -> Values:
    """Return the dispersion of success rates over examples, against the null of equal rates.

    decisions, where: (models, n) bool
    side: suffix of the names
    """
    tried = where.any(axis=0)
    decisions, where = decisions[:, tried], where[:, tried]
    hits, trials = (decisions & where).sum(axis=0), where.sum(axis=0)
    if trials.max(initial=0) < 2:  # noqa: PLR2004 - of single trials, every spread is chance's
        return {f"dispersion_{side}": intervals.unavailable("one trial an example: use more models", len(hits))}
    chance = success_rates.dispersion(hits, trials)
    if not np.isfinite(chance.chi2):
        return {f"dispersion_{side}": intervals.unavailable("nothing, or everything, is flagged", len(hits))}

    def ratio(rows: Array) -> float:
        return success_rates.dispersion(hits[rows], trials[rows]).ratio

    return {
        f"dispersion_{side}": resampling.over_examples(ratio, len(hits), rng, reason=""),
        f"chi2_{side}": intervals.rounded(chance.chi2, 9),
        f"chi2_{side}_df": chance.df,
        f"chi2_{side}_p": intervals.rounded(chance.p, 6),
        f"shuffled_{side}_p": success_rates.shuffled_p(decisions, where, rng),
    }


def agreement(found: Attacked, above: Array, rng: np.random.Generator) -> Values:
    """Return Spearman's correlation of R_in with the distance from the threshold, signed and absolute.

    Both come from the same models, so that part of the correlation is built in; `_split` takes R_in from the first half
    of the pairs of models, and the distance from the others.
    """
    pairs = len(found.member) // 2
    first, second = slice(0, 2 * (pairs // 2)), slice(2 * (pairs // 2), None)
    values: Values = {}
    for name, distance in (("signed", above), ("abs", np.abs(above))):
        for ending, one, other in (("", slice(None), slice(None)), ("_split", first, second)):
            rate = success_rates.mean_where(found.decisions[one], found.member[one])
            far = success_rates.mean_where(distance[other], found.member[other])
            both = np.stack([rate, far])[:, np.isfinite(rate) & np.isfinite(far)]

            def correlation(rows: Array, both: Array = both) -> float:
                return float(resampling.spearman(both[:1, rows], both[1:, rows])[0, 0]) if len(rows) else float("nan")

            values[f"spearman_{name}{ending}"] = resampling.over_examples(
                correlation, both.shape[1], rng, reason="R_in is the same for all examples"
            )
    return values


def advantage(found: Attacked) -> Estimate:
    """Return the mean of A = R_in - R_out over all, which is 2 BA - 1."""
    return metrics.advantage(intervals.balanced_accuracy(found.decisions, found.member))


def share(inside: Array) -> Estimate:
    """Return the share of (n,) bool examples, with the exact interval."""
    return intervals.rate(inside.astype(np.int64), np.ones(len(inside), dtype=np.int64))


def level_chance(models: int, quantile: float, votes: int | None) -> tuple[float, float, float]:
    """Return the shares of safe, vague and risky examples expected from independent rankings."""
    from scipy.stats import binom

    least = models if votes is None else votes
    one = float(binom.sf(least - 1, models, quantile))
    return one, 1 - 2 * one, one


def level_rows(level: Array, found: Attacked, chance: tuple[float, float, float]) -> Rows:
    """Return a row per privacy level: number of examples, number expected by chance, and success rates."""
    rows: Rows = []
    for number, name in enumerate(LEVELS):
        inside = level == number
        of_all, decisions, member = share(inside), found.decisions[:, inside], found.member[:, inside]
        rates = [intervals.accuracy(decisions, where).value for where in (member, ~member)]
        both = all(rate is not None for rate in rates)
        rows.append(
            {
                "level": name,
                "examples": int(inside.sum()),
                "share": of_all.value,
                "low": of_all.low,
                "high": of_all.high,
                "by chance": chance[number],
                "R_in": rates[0],
                "R_out": rates[1],
                "A": (rates[0] or 0.0) - (rates[1] or 0.0) if both else None,
            }
        )
    return rows


def generated(made: Attacked, level: Array, rng: np.random.Generator) -> Values:
    """Return the rate at which generated examples are flagged, its dispersion, and the shares of their levels."""
    return {
        "r_generated": intervals.accuracy(made.decisions),
        **{f"{name}_share_generated": share(level == number) for number, name in enumerate(LEVELS)},
        **spread(made.decisions, made.member, "generated", rng),
    }


def histogram_rows(found: Attacked, generated: Array | None = None) -> Rows:
    """Return a row per bin of R: examples as members and as non-members, and the binomial expectation.

    generated: (models, examples) decisions on generated examples that all models were trained on
    """
    inside, outside = (  # of equal length: an example is a member of one model of each pair
        success_rates.histogram((found.decisions & where).sum(axis=0), where.sum(axis=0))
        for where in (found.member, ~found.member)
    )
    columns = {
        "R": inside[:, 0],
        "members": inside[:, 1].astype(int),
        "members by chance": inside[:, 2].round(1),
        "non-members": outside[:, 1].astype(int),
        "non-members by chance": outside[:, 2].round(1),
    }
    if generated is not None:
        made = success_rates.histogram(generated.sum(axis=0), np.full(generated.shape[1], len(generated)))
        columns |= {"generated": made[:, 1].astype(int), "generated by chance": made[:, 2].round(1)}
    return success_rates.rows_of(columns)
