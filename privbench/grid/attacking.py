"""An attack at work: evidence in, scores or images out. This runs in a process that holds nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.contracts.abilities import HasFindings, JudgesFindings
from privbench.errors import InvalidScores, blamed
from privbench.stats import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privbench.aliases import Array
    from privbench.contracts.evidence import Evidence
    from privbench.executors import Port
    from privbench.population.evidence import Parcel


@dataclass(frozen=True)
class Attacking:
    """An attack, and the evidence of its targets."""

    attack: Any
    parcels: tuple[Parcel, ...]
    """One for each target, then one for each pseudo-target."""
    findings: int
    """Number of parcels, from the first, of which the attack's findings are wanted: the targets."""
    examples: int


@dataclass(frozen=True)
class Attacked:
    """The results of a membership attack."""

    scores: Array
    """(parcels, examples) float64."""
    findings: tuple[Mapping[str, Any], ...] = ()
    """The attack's own numbers and arrays, of each target."""


def attack(job: Attacking, port: Port) -> Attacked:
    """Return the scores of an attack. Raises InvalidScores, and what the attack raises."""
    scores, findings = np.empty((len(job.parcels), job.examples)), []
    for row, parcel in enumerate(job.parcels):
        evidence = parcel.evidence(partial(_ask, port, row))
        with blamed(job.attack):
            found = job.attack.score(evidence)
        scores[row] = metrics.check_scores(found, (job.examples,))
        if isinstance(job.attack, HasFindings) and row < job.findings:
            findings.append(findings_of(job.attack, evidence, scores[row]))
        port((row + 1) / len(scores))
    return Attacked(scores, tuple(findings))


def reconstruct(job: Attacking, port: Port) -> Array:
    """Return (targets, classes, height, width, channels) float32 in [0, 1]: the reconstructions from each target.

    Raises InvalidScores for anything but images, and what the attack raises.
    """
    images = []
    for row, parcel in enumerate(job.parcels):
        evidence = parcel.evidence(partial(_ask, port, row))
        with blamed(job.attack):
            found = job.attack.reconstruct(evidence, np.arange(parcel.classes))
        images.append(check_images(found, (parcel.classes, *parcel.input_shape)))
        port((row + 1) / len(job.parcels))
    return np.stack(images)


@dataclass(frozen=True)
class Judging:
    """An attack's findings, its scores (targets, examples), and the truth, which is told after all scores are in."""

    attack: Any
    attacked: Attacked
    member: Array


def judge(job: Judging, _port: Port) -> tuple[Mapping[str, float], ...]:
    """Return the attack's own numbers of each target."""
    targets = zip(job.attacked.findings, job.attacked.scores, job.member, strict=False)
    return tuple(with_truth(job.attack, *each) for each in targets)


def findings_of(attack: HasFindings, evidence: Evidence, scores: Array) -> Mapping[str, Any]:
    """Return an attack's findings on one target. Raises InvalidScores for values of a wrong type."""
    with blamed(attack):
        found = attack.findings(evidence, scores)
    return dict(found) if isinstance(attack, JudgesFindings) else metrics.check_findings(found)


def with_truth(attack: JudgesFindings, found: Mapping[str, Any], scores: Array, member: Array) -> Mapping[str, float]:
    """Return an attack's own numbers of one target, given the truth. Raises InvalidScores for anything else."""
    with blamed(attack):
        numbers = attack.judged(found, scores, member)
    return metrics.check_findings(numbers)


def check_images(images: Any, shape: tuple[int, ...]) -> Array:
    """Return an attack's images as float32. Raises InvalidScores with the problem if they are invalid."""
    array = np.asarray(images)
    if array.shape != shape:
        raise InvalidScores(f"images have shape {array.shape}; expected {shape}.")
    if array.dtype.kind != "f":
        raise InvalidScores(f"images have dtype {array.dtype}; expected float32.")
    if not np.isfinite(array).all():
        raise InvalidScores(f"{int((~np.isfinite(array)).sum())} of {array.size} pixels are not finite.")
    if array.min() < 0 or array.max() > 1:
        raise InvalidScores(f"pixels run from {array.min():.3g} to {array.max():.3g}; expected 0 to 1.")
    return array.astype(np.float32)


def _ask(port: Port, row: int, request: Any) -> Any:
    return port.ask((row, request))
