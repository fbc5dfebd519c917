"""Selection of the strongest of several attacks, with an interval that accounts for the selection.

The largest of k noisy numbers is biased upwards, and the interval of that attack alone ignores the selection. Bands
that hold for all k attacks simultaneously do not, for any selection: t_j +- c s_j, where s_j is the standard error of
attack j and c the 95 % quantile of max_j |t*_j - t_j| / s_j over bootstrap samples of examples that are common to all
attacks (sup-t bands: Montiel Olea & Plagborg-Moller 2019, "Simultaneous confidence bands"; the max-t of Westfall &
Young 1993, "Resampling-Based Multiple Testing"). Attacks with the same results do not widen the bands.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from privbench.data.archives import archive
from privbench.errors import DataError
from privbench.records.comparable import circumstances, setting
from privbench.records.files import scores_sha256
from privbench.records.parts import Selection
from privbench.stats import intervals, metrics, roc
from privbench.stats.intervals import LEVEL
from privbench.stats.resampling import multiplicities

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from pathlib import Path

    from privbench.aliases import Array
    from privbench.records.record import Record

    Raw = Mapping[str, Array]

DIGITS = 9
"""Significant digits of a band in a record."""
NEGLIGIBLE = 1e-12
"""A standard error below this is rounding."""


@dataclass(frozen=True)
class Number:
    """A number of one attack, with its bootstrap samples."""

    deviations: Array
    """(resamples,) |t* - t| / s; empty if no sample changes the number."""
    bounds: Callable[[float], tuple[float, float]]
    """Returns the interval with a given half-width in standard errors."""


def selected(job: tuple[int, Sequence[tuple[Record, Raw]]], _port: object = None) -> list[Record]:
    """Return the records of the attacks on one population, with bands if there was a selection.

    job: the seed, and the records, each with its raw arrays; an attack without scores does not count
    """
    seed, records = job
    scored = {record.attack.spec: raw for record, raw in records if "scores" in raw}
    if len(scored) < 2:  # noqa: PLR2004 - a choice takes two
        return [record for record, _ in records]
    bands = select({attack: numbers(raw, seed) for attack, raw in scored.items()})
    return [record.model_copy(update={"selection": bands.get(record.attack.spec)}) for record, _ in records]


def completed(records: Sequence[tuple[Path, Record]]) -> list[tuple[Path, Record]]:
    """Return records, each with its file, with bands for all attacks on their population.

    If the bands in the records are for fewer attacks, as from several runs, they are recomputed from the raw scores
    next to the records; if these are missing or differ, the records are unchanged.
    """
    populations: dict[Hashable, list[int]] = {}
    for index, (_, record) in enumerate(records):
        if record.metrics is not None:
            populations.setdefault(_population(record), []).append(index)
    filled = list(records)
    for places in populations.values():
        together = [records[index] for index in places]
        attacks = {record.attack.spec for _, record in together}
        if len(attacks) > 1 and not all(r.selection and attacks <= set(r.selection.attacks) for _, r in together):
            for index, record in zip(places, _from_raw(together), strict=True):
                filled[index] = (records[index][0], record)
    return filled


def _population(record: Record) -> Hashable:
    return (setting(record), record.defense.spec, record.defense.source, tuple(circumstances(record).items()))


def _from_raw(records: Sequence[tuple[Path, Record]]) -> list[Record]:
    together: list[tuple[Record, Raw]] = []
    for file, record in records:
        raw = _raw(file.with_suffix(".scores.npz"), record)
        if raw is None:
            return [record for _, record in records]
        together.append((record, raw))
    return selected((together[0][0].seed, together))


def _raw(file: Path, record: Record) -> Raw | None:
    """Return the raw arrays next to a record; None if they are missing, or do not belong to the record."""
    try:
        with archive(file, str(file), "several") as arrays:
            raw = {name: arrays[name] for name in arrays.files}
            same = scores_sha256(raw["scores"], raw["member"]) == record.scores_sha256
    except DataError:
        return None
    return raw if same and ("canary" in raw or record.canaries is None) else None


def select(attacks: Mapping[str, Mapping[str, Number]], resamples: int = metrics.RESAMPLES) -> dict[str, Selection]:
    """Return the simultaneous bands of attacks on one population, each with the result of `numbers`."""
    bands: dict[str, dict[str, tuple[float, float]]] = {attack: {} for attack in attacks}
    critical: dict[str, float] = {}
    for name in dict.fromkeys(name for measured in attacks.values() for name in measured):
        measured = {attack: each[name] for attack, each in attacks.items() if name in each}
        width = critical_value([number.deviations for number in measured.values()])
        critical[name] = intervals.rounded(width, DIGITS)
        for attack, number in measured.items():
            low, high = number.bounds(width)
            bands[attack][name] = (intervals.rounded(low, DIGITS), intervals.rounded(high, DIGITS))
    return {
        attack: Selection(
            attacks=sorted(attacks),
            resamples=resamples,
            bands=own,
            critical={name: critical[name] for name in own},
        )
        for attack, own in bands.items()
    }


def critical_value(deviations: Sequence[Array]) -> float:
    """Return the 95 % quantile of the largest of the deviations, at least that of one attack alone.

    If no attack's number ever changes, resampling is useless: then as if the attacks were independent.
    """
    spread = [each for each in deviations if len(each)]
    if not spread:
        return NormalDist().inv_cdf((1 + LEVEL ** (1 / len(deviations))) / 2)
    quantile = float(np.quantile(np.max(spread, axis=0), LEVEL, method="higher"))
    return max(quantile, NormalDist().inv_cdf((1 + LEVEL) / 2))


def numbers(raw: Raw, seed: int, resamples: int = metrics.RESAMPLES) -> dict[str, Number]:
    """Return the ranking numbers of an attack, by name.

    raw: `scores` and `member`, (targets, examples); optionally `decisions` of the same shape, and (examples,) bool
        `ordinary` and `canary` for a pool with canaries
    """
    scores, member = raw["scores"], raw["member"]
    ordinary = raw.get("ordinary", np.ones(scores.shape[1], dtype=bool))
    common = scores[:, ordinary], member[:, ordinary]
    decisions = raw["decisions"][:, ordinary] if "decisions" in raw else None
    by_name = _measured(*common, decisions, resamples, (seed, "metrics", "pooled"))
    if "canary" in raw:
        canary = scores[:, raw["canary"]], member[:, raw["canary"]]
        of_canaries = _measured(*canary, None, resamples, (seed, "metrics", "canaries"))
        by_name |= {f"canary-{name}": number for name, number in of_canaries.items()}
    return by_name


def _measured(
    scores: Array, member: Array, decisions: Array | None, resamples: int, purpose: tuple[int, str, str]
) -> dict[str, Number]:
    ranking = roc.Ranking.of(scores, member)
    if not (len(ranking.inside) and len(ranking.outside)):
        return {}
    fprs = tuple(fpr for fpr in metrics.FPRS if roc.allowed(fpr, len(ranking.outside)))
    # AUC and balanced accuracy, which is the AUC of decisions, are nearly linear in the examples.
    linear = {"auc": (intervals.auc_influence(scores, member), functools.partial(intervals.auc, scores, member))}
    if decisions is not None:
        interval = functools.partial(intervals.balanced_accuracy, decisions, member)
        linear["balanced-accuracy"] = (intervals.auc_influence(decisions, member), interval)
    influences = np.stack([influence for influence, _ in linear.values()], axis=1)
    rates = roc.ClusteredRates(ranking, fprs)
    chunks = multiplicities(ranking.trials, resamples, *purpose)
    drawn, moved = zip(*((rates.tpr(chunk), chunk @ influences) for chunk in chunks), strict=True)
    by_name = {
        roc.tpr_name(fpr): _tpr(ranking, fpr, draws)
        for fpr, draws in zip(fprs, np.concatenate(drawn, axis=1), strict=True)
    }
    for (name, (_, interval)), moves in zip(linear.items(), np.concatenate(moved).T, strict=True):
        by_name[name] = Number(_standardised(moves), functools.partial(_textbook, interval))
    return by_name


def _tpr(ranking: roc.Ranking, fpr: float, draws: Array) -> Number:
    """Return a TPR on the scale of the arcsine of its square root, where its variance hardly depends on its size."""
    at = roc.cut(ranking, roc.allowed(fpr, len(ranking.outside)))
    value = float(np.arcsin(np.sqrt(at.hits / len(ranking.inside))))
    moved = np.arcsin(np.sqrt(draws))
    error = float(moved.std(ddof=1))
    hits = np.bincount(ranking.inside_example[: at.hits], minlength=ranking.examples)

    tails = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    bounds = functools.partial(_rate_bounds, (value, error), (hits, ranking.trials[0]), tails)
    # Centred at the samples: repeated examples are tied, and ties at the threshold lower a TPR slightly.
    return Number(_standardised(moved - moved.mean()), bounds)


def _rate_bounds(
    centre: tuple[float, float], counts: tuple[Array, Array], tails: Array, critical: float
) -> tuple[float, float]:
    # Never narrower than the interval of this attack alone (roc.py), and the exact one at the selected threshold.
    fixed = intervals.rate(*counts, _level(critical))
    value, error = centre
    ends = np.clip([value - critical * error, value + critical * error], 0.0, np.pi / 2)
    low, high = np.square(np.sin(ends))
    return float(min(low, tails[0], fixed.low or 0.0)), float(max(high, tails[1], fixed.high or 0.0))


def _textbook(interval: Callable[..., intervals.Estimate], critical: float) -> tuple[float, float]:
    estimate = interval(level=_level(critical))
    return (0.0, 1.0) if estimate.low is None or estimate.high is None else (estimate.low, estimate.high)


def _standardised(moves: Array) -> Array:
    error = moves.std(ddof=1)
    absolute: Array = np.abs(moves) / error if error > NEGLIGIBLE else np.empty(0)
    return absolute


def _level(critical: float) -> float:
    """Return the coverage, for one attack alone, of an interval with this half-width in standard errors."""
    return 2 * NormalDist().cdf(critical) - 1
