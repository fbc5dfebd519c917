"""Result of an audit of existing data: a record per attack, raw scores, and the most exposed examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from privbench.contracts.abilities import HasFindings, JudgesFindings
from privbench.contracts.attack import MembershipAttack, ReconstructionAttack
from privbench.contracts.threat import threat_model
from privbench.errors import CellFailed, UsageError, blamed
from privbench.grid.attacking import findings_of, with_truth
from privbench.grid.calls import apart
from privbench.grid.cell import needs_of
from privbench.grid.measuring import Deciding, Measuring, measured
from privbench.plugins import registration
from privbench.records.files import save
from privbench.records.parts import Component, Data
from privbench.records.provenance import caught, component, heading
from privbench.records.ranking import RANKINGS
from privbench.records.record import Record
from privbench.records.selection import selected
from privbench.report.tables import csv
from privbench.stats import metrics
from privbench.store.atomic import atomic_write, writing_into

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from privbench.aliases import Array
    from privbench.api import Needs
    from privbench.contracts.evidence import Evidence

GIVEN = "given"
"""Name of the defense in the records of external models and data sets."""


@dataclass(frozen=True, eq=False, repr=False)
class Audited(Sequence[Record]):
    """Records of one audit, one per attack, with scores and notes."""

    records: Sequence[Record]
    member: Array
    """True membership of each example, (n,) bool."""
    scores: dict[str, Array]
    """Scores (n,) float64 of the attacks that did not fail; higher means more likely a member."""
    exposed: pd.DataFrame
    """Members, sorted by the scores of the strongest attack, the most exposed first."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Attacks that the evidence does not support -> their needs."""
    warnings: tuple[str, ...] = ()
    """Sentences about doubtful arrays."""
    notes: tuple[str, ...] = ()
    """Sentences about the content of the arrays and their conversion."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """Return one record, or a slice of records."""
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        best = self.strongest
        strongest = f", strongest {best.attack.spec}" if best else ""
        return f"<{type(self).__name__}: {len(self)} records{strongest}>"

    @property
    def strongest(self) -> Record | None:
        """Record with the highest TPR at 1 % FPR or, if that is n/a or equal, AUC; None if all attacks failed."""
        return strongest(self.records)

    def save(self, out: Path | str) -> list[Path]:
        """Write records and raw scores into a folder, and the exposed examples next to the strongest record."""
        out, paths = Path(out), []
        for record in self.records:
            scores = self.scores.get(record.attack.spec)
            raw = {} if scores is None else {"scores": scores[None], "member": self.member[None]}
            paths.append(save(record, out, raw))
        best = self.strongest
        if best is not None:
            table = csv(self.exposed)
            with writing_into(out, "records"):
                atomic_write(best.path(out).with_suffix(".exposed.csv"), table.encode())
        return paths


def strongest(records: Iterable[Record]) -> Record | None:
    """Return the record of the strongest attack: by TPR at 1 % FPR, then by AUC."""

    def strength(record: Record) -> tuple[float, ...]:
        found = (RANKINGS[by](record) for by in ("tpr@1%", "auc"))
        return tuple(-np.inf if each is None or each.value is None else each.value for each in found)

    return max((record for record in records if record.metrics), key=strength, default=None)


def judged(
    attacks: Iterable[Any], judge_one: Callable[[Any], tuple[Record, dict[str, Array]]], seed: int
) -> tuple[list[Record], dict[str, Array]]:
    """Return a record of each attack, with bands that account for the choice of the strongest (selection.py).

    And (n,) scores by attack, of those that did not fail. judge_one: attack -> what `judge` returns.
    """
    judgements = [judge_one(attack) for attack in attacks]
    return selected((seed, judgements)), {record.attack.spec: raw["scores"][0] for record, raw in judgements if raw}


def about(
    kind: Literal["predictions", "dataset"],
    data: Data,
    attack: Any,
    needs: Needs,
    *,
    shadows: int,
    seed: int,
    command: str,
) -> Record:
    """Return a record without results. shadows: number of shadow models, whether the attack uses them or not."""
    return Record(
        **heading(outside(kind), data, outside(GIVEN), models=1 + shadows, seed=seed, command=command),
        attack=component("attack", attack),
        threat_model=threat_model(needs),
        targets=1,
        shadows=shadows if needs.shadows != "none" else 0,
    )


def outside(name: str) -> Component:
    """Return the component of a record for an external task or defense."""
    return Component(spec=name, name=name, plugin="", source="")


def judge(
    attack: Any,
    base: Record,
    evidence: Evidence,
    member: Array,
    decide: Callable[[Array], tuple[Array | None, str]],
    *,
    order: Array | None = None,
) -> tuple[Record, dict[str, Array]]:
    """Let an attack score, and measure it as `privbench run` does with one target; its raw arrays, none if it failed.

    member: (n,) bool. decide: scores -> (n,) decisions or None, and where they come from. order: in which the evidence
    has the examples.
    """
    shown = np.arange(len(member)) if order is None else order
    with caught() as failed:
        scores = np.empty(len(member))
        scores[shown], findings = apart(_scored, (attack, evidence, member.shape), attack, patience=0.0)
        decisions, threshold = decide(scores)
        own = findings
        if isinstance(attack, JudgesFindings):
            own = [apart(_with_truth, (attack, findings[0], scores[shown], member[shown]), attack, patience=0.0)]
        job = Measuring(scores[None], member[None], Deciding(None), base.seed, own)
        measurement = measured(job, None if decisions is None else decisions[None], threshold)
        return base.sealed(**measurement.found), measurement.raw
    return base.sealed(**failed), {}


def _scored(job: tuple[Any, Evidence, tuple[int, ...]], _port: object) -> tuple[Array, list[Mapping[str, Any]]]:
    """Return an attack's scores, and its findings, a list of one; an empty list without any."""
    attack, evidence, shape = job
    with blamed(attack):
        given = attack.score(evidence)
    scores = metrics.check_scores(given, shape)
    return scores, [findings_of(attack, evidence, scores)] if isinstance(attack, HasFindings) else []


def _with_truth(job: tuple[Any, Mapping[str, Any], Array, Array], _port: object) -> Mapping[str, float]:
    return with_truth(*job)


def above(natural: float | None, scores: Array, calibrated: Callable[[], float] | str) -> tuple[Array | None, str]:
    """Return decisions at the attack's threshold or at a calibrated one, and its origin; None with a reason if neither.

    The texts are the same as in `privbench run`.
    """
    if natural is not None:
        return scores >= natural, f"the attack's own, {natural:g}"
    if isinstance(calibrated, str):
        return None, f"none: {calibrated}"
    try:
        return scores >= calibrated(), "calibrated on 2 shadow models"
    except CellFailed as error:
        return None, f"none: {error}"


def exposure(scores: Array, member: Array) -> tuple[Array, Array]:
    """Return the indices of members, the most exposed first, and the number of non-members scored at least as high."""
    rows = np.flatnonzero(member)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    others = np.sort(scores[~member])
    return order, len(others) - np.searchsorted(others, scores[order], "left")


def attacks(texts: Any, supports: Callable[[Any], str]) -> tuple[list[Any], dict[str, str]]:
    """Return the attacks that the evidence supports, and the needs of the others.

    texts: one or several attacks, as texts or objects.
    supports: attack -> what the evidence lacks, or "".

    Raises UsageError if no attack is left.
    """
    from privbench.options.fields import build, spec
    from privbench.plugins.loading import resolve_all

    given = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, str) else [texts]
    chosen: dict[Any, None] = {}
    for each in given:
        built = build(each, {}) if isinstance(each, type) else each
        chosen.update(dict.fromkeys(resolve_all("attack", [built]) if isinstance(built, str) else [built]))
    for attack in chosen:
        if not isinstance(attack, MembershipAttack | ReconstructionAttack):
            raise UsageError(f"attack={attack!r}: give names of attacks, or objects with name, needs and score.")
    registration.check("attack", chosen)
    lacking = {attack: _unreadable(attack) or supports(attack) for attack in chosen}
    left_out = {spec(attack): reason for attack, reason in lacking.items() if reason}
    kept = [attack for attack, reason in lacking.items() if not reason]
    if not kept:
        listing = "; ".join(f"{name} needs {reason}" for name, reason in left_out.items())
        raise UsageError(f"None of the attacks can be run on these arrays: {listing or 'none was named'}.")
    return kept, left_out


def _unreadable(attack: Any) -> str:
    """Return the fault of an attack's threat model, or ""."""
    try:
        needs_of(attack)
    except CellFailed as error:
        return f"a threat model that can be read: {error}"
    return ""
