"""Result of an audit of existing data: a record per attack, raw scores, and the most exposed examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from privbench.contracts.attack import MembershipAttack, ReconstructionAttack
from privbench.contracts.threat import threat_model
from privbench.errors import CellFailed, UsageError, blamed
from privbench.grid.cell import needs_of
from privbench.grid.scoring import findings, measured
from privbench.records.files import save
from privbench.records.parts import Component, Data
from privbench.records.provenance import caught, component, heading
from privbench.records.ranking import RANKINGS
from privbench.records.record import Record
from privbench.records.selection import Together
from privbench.stats import metrics
from privbench.store.atomic import atomic_write, writing_into

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from privbench.aliases import Array
    from privbench.api import Needs
    from privbench.contracts.evidence import Evidence

GIVEN = "given"
"""What stands for the defense in records of what was made elsewhere."""


@dataclass(frozen=True, eq=False, repr=False)
class Audited(Sequence[Record]):
    """The records of one audit, one per attack, and what goes with them."""

    records: Sequence[Record]
    member: Array
    """(n,) bool: the truth, example by example."""
    scores: dict[str, Array]
    """(n,) float64 by attack, of those that did not fail; higher = likelier member."""
    exposed: pd.DataFrame
    """Members, the most exposed first, as the strongest attack scores them."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Attacks that the evidence does not support, and what they need."""
    warnings: tuple[str, ...] = ()
    """What is doubtful about the arrays, a sentence each."""
    notes: tuple[str, ...] = ()
    """What was done with the arrays, and what they hold, a sentence each."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """Return a record, or several."""
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        best = self.strongest
        found = f", strongest {best.attack.spec}" if best else ""
        return f"<{type(self).__name__}: {len(self)} records{found}>"

    @property
    def strongest(self) -> Record | None:
        """The record with the highest TPR at 1 % FPR or, where that is n/a or equal, AUC; None where all failed."""
        return strongest(self.records)

    def save(self, out: Path | str) -> list[Path]:
        """Write records and raw scores into a folder of records, and the exposed examples beside the strongest."""
        out, paths = Path(out), []
        for record in self.records:
            scores = self.scores.get(record.attack.spec)
            raw = {} if scores is None else {"scores": scores[None], "member": self.member[None]}
            paths.append(save(record, out, raw))
        best = self.strongest
        if best is not None:
            table = self.exposed.to_csv(index=False, lineterminator="\n")
            with writing_into(out, "records"):
                atomic_write(best.path(out).with_suffix(".exposed.csv"), table.encode())
        return paths


def strongest(records: Iterable[Record]) -> Record | None:
    """Return the record whose attack finds most: by TPR at 1 % FPR, then by AUC."""

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
    together, scores = Together(seed), {}
    for attack in attacks:
        record, raw = judge_one(attack)
        together.add(record, raw)
        if raw:
            scores[record.attack.spec] = raw["scores"][0]
    return together.selected(), scores


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
    """Return a record with everything but results. shadows: how many there are, whoever looks at them."""
    return Record(
        **heading(outside(kind), data, outside(GIVEN), models=1 + shadows, seed=seed, command=command),
        attack=component("attack", attack),
        threat_model=threat_model(needs),
        targets=1,
        shadows=shadows if needs.shadows != "none" else 0,
    )


def outside(name: str) -> Component:
    """Return what a record says of a task or a defense that privbench does not have."""
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
        with blamed(attack):
            given = attack.score(evidence)
        scores = np.empty(len(member))
        scores[shown] = metrics.check_scores(given, member.shape)
        decisions, threshold = decide(scores)
        found, raw = measured(scores[None], member[None], None if decisions is None else decisions[None], base.seed)
        own = findings(attack, [evidence], scores[None, shown], member[None, shown])
        return base.sealed(**found, threshold=threshold, findings=own), raw
    return base.sealed(**failed), {}


def above(natural: float | None, scores: Array, calibrated: Callable[[], float] | str) -> tuple[Array | None, str]:
    """Return decisions at the attack's own threshold or a calibrated one; with a reason why not, none.

    The texts are those that `privbench run` writes.
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
    """Return the members' indices, the most exposed first, and how many non-members score at least as high."""
    rows = np.flatnonzero(member)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    others = np.sort(scores[~member])
    return order, len(others) - np.searchsorted(others, scores[order], "left")


def attacks(texts: Any, supports: Callable[[Any], str]) -> tuple[list[Any], dict[str, str]]:
    """Return the attacks, named or built, one or several, that the evidence supports, and what the others need.

    supports: attack -> what the evidence lacks, or nothing. Raises UsageError where none is left.
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
    lacking = {attack: _unreadable(attack) or supports(attack) for attack in chosen}
    left_out = {spec(attack): reason for attack, reason in lacking.items() if reason}
    kept = [attack for attack, reason in lacking.items() if not reason]
    if not kept:
        listing = "; ".join(f"{name} needs {reason}" for name, reason in left_out.items())
        raise UsageError(f"None of the attacks can be run on these arrays: {listing or 'none was named'}.")
    return kept, left_out


def _unreadable(attack: Any) -> str:
    """Return what is wrong with an attack's threat model, or nothing."""
    try:
        needs_of(attack)
    except CellFailed as error:
        return f"a threat model that can be read: {error}"
    return ""
