"""Ranking of defenses: each by its strongest attack, over attacks that were run against all of them.

A defense is only as safe as the attacks that were run against it. All rows are therefore ranked over the same attacks:
those that a board declares or, without a declaration, those that were run against all rows. A row that lacks one of
them has no rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from privbench.errors import UsageError, did_you_mean
from privbench.records import remarks
from privbench.records.comparable import SHOWN, age
from privbench.stats.roc import tpr_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privbench.records.record import Record
    from privbench.stats.intervals import Estimate

Band = tuple[float, float]


def _tpr_at(fpr: float, *, canaries: bool = False) -> Callable[[Record], Estimate | None]:
    def find(record: Record) -> Estimate | None:
        part = record.canaries if canaries else record.metrics
        points = part.tpr_at_fpr if part else []
        return next((point.tpr for point in points if point.fpr == fpr), None)

    return find


CANARY = f"canary-{tpr_name(0.01)}"
RANKINGS: dict[str, Callable[[Record], Estimate | None]] = {
    tpr_name(0.01): _tpr_at(0.01),
    tpr_name(0.001): _tpr_at(0.001),
    "auc": lambda record: record.metrics.auc if record.metrics else None,
    "balanced-accuracy": lambda record: record.metrics.balanced_accuracy if record.metrics else None,
    CANARY: _tpr_at(0.01, canaries=True),
}
"""Ranking columns. Oracle thresholds never rank (docs/design.md, rule 5)."""


def check(rank_by: str) -> None:
    """Raise UsageError for an invalid ranking column."""
    if rank_by not in RANKINGS:
        hint = did_you_mean(rank_by, RANKINGS)
        raise UsageError(f"Cannot rank by {rank_by!r}.{hint} Use one of {', '.join(RANKINGS)}.")


CHOOSING: dict[str, Callable[[Record], Estimate | None]] = {
    **RANKINGS,
    "canary-auc": lambda record: record.canaries.auc if record.canaries else None,
}
"""Numbers that can select the attack of a row: the ranking column or, if no attack has that number, an AUC."""


@dataclass(frozen=True, eq=False)
class Row:
    """A defense, and the results of the attacks on it."""

    records: Sequence[Record]
    """One record per attack, all on the same models."""
    compared: Sequence[str]
    """Attacks over which rows are ranked."""
    sources: dict[str, str]
    """The newest code of each attack; other code counts as another attack."""
    rank_by: str

    @cached_property
    def met(self) -> dict[str, Record]:
        """The records of attacks with the same code as in the other rows, by attack."""
        return {each.attack.spec: each for each in self.records if each.attack.source == self.sources[each.attack.spec]}

    @cached_property
    def lacking(self) -> dict[str, str]:
        """The compared attacks without a result in this row, and why; one that does not apply is not lacking."""
        return {spec: reason for spec in self.compared if (reason := self._lack(spec))}

    def _lack(self, spec: str) -> str:
        if spec in self.met:
            return "failed" if self.met[spec].status == "failed" else ""
        return "is of other code" if any(each.attack.spec == spec for each in self.records) else "was not run"

    @cached_property
    def candidates(self) -> list[Record]:
        """The records that rank; if no attack was run against all rows, all records."""
        chosen = [self.met[spec] for spec in self.compared if spec in self.met] if self.compared else self.records
        return [record for record in chosen if record.status == "ok"]

    @cached_property
    def shown(self) -> list[Record]:
        """The records among which the strongest is selected: if none of those that rank worked, all that did."""
        return self.candidates or [record for record in self.records if record.status == "ok"]

    @cached_property
    def value(self) -> float | None:
        """The result of the strongest of the attacks that rank; None means no number, never safe."""
        return max((value for _, value in _numbered(self.candidates, self.rank_by)), default=None)

    @property
    def ranked(self) -> bool:
        """Whether the row has a rank."""
        return self.value is not None and bool(self.compared) and not self.lacking

    def chosen_by(self, by: str) -> str:
        """Return the number that selects the displayed attack: an AUC if the examples support no other one."""
        other = ("canary-auc", "auc") if by == CANARY else ("auc",)
        return next((name for name in (by, *other) if self._numbered(name)), by)

    def strongest(self, by: str = "") -> Record:
        """Return the record of the strongest attack."""
        numbered = self._numbered(self.chosen_by(by or self.rank_by))
        if not numbered:
            return next(iter(self.shown), self.records[0])
        return max(numbered, key=lambda pair: pair[1])[0]

    def band(self, record: Record, name: str, by: str) -> Band | None:
        """Return the interval of a number of the attack selected by another; None if unknown.

        Between the lower limit of the selected attack and the highest upper limit of all for the selecting number,
        because another attack may in truth be the strongest.
        """
        numbered = [each for each, _ in self._numbered(by)]
        family = {each.attack.spec for each in numbered}
        chosen = [each.selection for each in numbered if each.selection and family <= set(each.selection.attacks)]
        if len(chosen) < len(numbered) or record.selection is None or not all(name in each.bands for each in chosen):
            return None
        low, high = record.selection.bands[name]
        return low, max(each.bands[name][1] for each in chosen) if name == by else high

    def among(self, by: str) -> int:
        """Return the number of attacks among which the strongest was selected."""
        return len(self._numbered(by))

    def notes(self, *, declared: bool) -> list[str]:
        """Return the notes on the row."""
        failed = [record for record in self.records if record.status == "failed"]
        notes = remarks.faults(failed)
        if self.lacking:
            lacks = ", ".join(f"{spec} {reason}" for spec, reason in self.lacking.items())
            notes.append(f"no rank, for it may leak more than is known: {lacks}")
        elif self.compared and not self.candidates:
            notes.append("no rank: none of the attacks that rank applies")
        elif self.compared and self.value is None:
            notes.append(f"no rank: {self._unsupported()}")
        notes += filter(
            None, (remark(self.strongest()) for remark in (remarks.unmet, remarks.collapse, remarks.claims))
        )
        unmet = [spec for spec in self.sources if spec not in self.met and spec not in self.lacking]
        notes += [f"not attacked by {', '.join(unmet)}"] if unmet and not declared else []
        notes += [more] if (more := self._found_by_others()) else []
        return notes + remarks.faults([record for record in self.records if record.status == "n/a"])

    def _unsupported(self) -> str:
        """Return why no attack has the ranking number."""
        if self.rank_by == CANARY and not any(record.canaries for record in self.candidates):
            return "the pool has no canaries"
        if self.rank_by == "balanced-accuracy":
            return "no attack makes decisions"
        return f"the examples are too few to support {self.rank_by}"

    def _found_by_others(self) -> str:
        """Return the result of an attack outside the comparison, if it is stronger than those inside."""
        compared = {id(record) for record in self.candidates}
        others = [record for record in self.records if record.status == "ok" and id(record) not in compared]
        numbered = [(record, estimate.value) for record in others if (estimate := RANKINGS[self.rank_by](record))]
        known = [(record, value) for record, value in numbered if value is not None]
        if not known:
            return ""
        record, most = max(known, key=lambda pair: pair[1])
        if self.value is not None and most <= self.value:
            return ""
        shown = f"{most:.3f}" if self.rank_by == "auc" else f"{100 * most:.1f} %"  # as in the table
        return f"{record.attack.spec}, which is not compared here, finds more: {self.rank_by} {shown}"

    def _numbered(self, by: str) -> list[tuple[Record, float]]:
        return _numbered(self.shown, by)


def _numbered(records: Sequence[Record], by: str) -> list[tuple[Record, float]]:
    estimates = [(record, CHOOSING[by](record)) for record in records]
    return [(record, each.value) for record, each in estimates if each is not None and each.value is not None]


def rows(records: Sequence[Record], rank_by: str, declared: Sequence[str] | None = None) -> list[Row]:
    """Return the rows of records that may be ranked, in the order of their defenses' first occurrence.

    declared: the attacks that a board declares; without them, those that were run against all rows, did not fail
        everywhere, and have the same code
    """
    defenses: dict[tuple[str, str], dict[str, Record]] = {}
    newest: dict[str, Record] = {}
    for record in records:
        row, spec = defenses.setdefault((record.defense.spec, record.defense.source), {}), record.attack.spec
        if spec not in row or age(record) > age(row[spec]):
            row[spec] = record
        if spec not in newest or age(record) > age(newest[spec]):
            newest[spec] = record
    sources = {spec: record.attack.source for spec, record in newest.items()}
    compared = list(declared) if declared is not None else []
    if declared is None:
        for spec, source in sources.items():
            met = [row[spec] for row in defenses.values() if spec in row and row[spec].attack.source == source]
            if len(met) == len(defenses) and any(record.status == "ok" for record in met):
                compared.append(spec)
        compared.sort()
    return [Row(list(row.values()), compared, sources, rank_by) for row in defenses.values()]


def ranks(rows: Sequence[Row]) -> list[int | None]:
    """Return the ranks of rows, the safest first; equal numbers share a rank."""
    values = sorted(row.value for row in rows if row.ranked and row.value is not None)
    return [1 + values.index(row.value) if row.ranked and row.value is not None else None for row in rows]


def of_other_code(rows: Sequence[Row]) -> list[str]:
    """Return a note for each row of a defense with several rows, because its code was changed; else ""."""
    specs = [row.records[0].defense.spec for row in rows]
    note = "its models are of code {}, those of another row of this name are not"
    sources = [row.records[0].defense.source[:SHOWN] for row in rows]
    return [note.format(source) if specs.count(spec) > 1 else "" for spec, source in zip(specs, sources, strict=True)]
