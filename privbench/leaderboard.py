"""Leaderboards: records as tables, each defense ranked by its strongest attack, with its utility beside it.

What reconstruction attacks found stands in a table of its own, unranked: no one number says how alike images are.

`privbench.report.tables` draws and exports what this module computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench import remarks
from privbench.errors import UsageError, did_you_mean
from privbench.likeness import Likeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

    from privbench.intervals import Estimate
    from privbench.metrics import Metrics
    from privbench.record import Canaries, Record


def _tpr_at(fpr: float, *, canaries: bool = False) -> Callable[[Record], Estimate | None]:
    def find(record: Record) -> Estimate | None:
        part = record.canaries if canaries else record.metrics
        points = part.tpr_at_fpr if part else []
        return next((point.tpr for point in points if point.fpr == fpr), None)

    return find


CANARY = "canary-tpr@1%"
RANKINGS: dict[str, Callable[[Record], Estimate | None]] = {
    "tpr@1%": _tpr_at(0.01),
    "tpr@0.1%": _tpr_at(0.001),
    "auc": lambda record: record.metrics.auc if record.metrics else None,
    "balanced-accuracy": lambda record: record.metrics.balanced_accuracy if record.metrics else None,
    CANARY: _tpr_at(0.01, canaries=True),
}
"""What can rank. Oracle thresholds never do (DESIGN rule 5)."""

NUMBERS: Mapping[str, Callable[[Record], Estimate | None]] = {
    **RANKINGS,
    "oracle-balanced-accuracy": lambda record: record.metrics.oracle_balanced_accuracy if record.metrics else None,
    "canary-auc": lambda record: record.canaries.auc if record.canaries else None,
    "test-accuracy": lambda record: record.utility.test_accuracy if record.utility else None,
    "train-accuracy": lambda record: record.utility.train_accuracy if record.utility else None,
}
"""The columns that come with an interval, as NAME, NAME_low and NAME_high."""

COSTS = {
    "relative-to-ce": "relative_to_ce",
    "relative-to-ce_low": "relative_low",
    "relative-to-ce_high": "relative_high",
}
"""Columns of the cost beside undefended training, and the fields of a record's cost."""

OF_CANARIES = (CANARY, "canary-auc")

LIKENESS: Mapping[str, str] = {**{name.replace("_", "-"): name for name in Likeness.model_fields}, "test-accuracy": ""}
"""Likewise in the table of reconstructions: the columns, and the numbers' names in a record."""


def frame(records: Iterable[Record], *, rank_by: str = "tpr@1%") -> pd.DataFrame:
    """Return one row per (setting, defense): its strongest attack by `rank_by`, every number with its interval.

    A setting is a task with its data, the numbers of models and targets, the seed and the device; ranks count
    within one, the safest defense first. What is said of canaries is what the attack that bites them most finds,
    `canary-attack`. A defense whose attacks all failed, or whose n supports no number, has no rank and stands last.
    Raises UsageError for an unknown ranking.
    """
    import pandas as pd

    if rank_by not in RANKINGS:
        hint = did_you_mean(rank_by, RANKINGS)
        raise UsageError(f"Cannot rank by {rank_by!r}.{hint} Use one of {', '.join(RANKINGS)}.")
    settings: dict[tuple[Any, ...], dict[str, list[Record]]] = {}
    for record in _of_family("membership", records):
        settings.setdefault(_setting(record), {}).setdefault(record.defense.spec, []).append(record)
    rows = [row for defenses in settings.values() for row in _ranked(defenses, rank_by)]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["rank", *_columns(), "attacks", "failed"])
    table["rank"] = table["rank"].astype("Int64")
    table.attrs["rank_by"] = rank_by
    return table


def cells(records: Iterable[Record]) -> pd.DataFrame:
    """Return one unranked row per record: every membership attack on every defense, with the attack's own findings."""
    import pandas as pd

    chosen = _of_family("membership", records)
    rows = [{**_row(record, remarks.fault(record)), "findings": remarks.findings(record)} for record in chosen]
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*_columns(), "findings"])
    return table


def reconstructions(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per reconstruction attack on a defense, undefended first, and below them their controls.

    `kind` is "attack" or "control". Controls stand once in a setting, as beside its first attack; the one on untrained
    nets once for each attack.
    """
    import pandas as pd

    settings: dict[tuple[Any, ...], list[Record]] = {}
    for record in _of_family("reconstruction", records):
        settings.setdefault(_setting(record), []).append(record)
    rows = [row for found in settings.values() for row in _reconstructed(found)]
    spread = [f"{name}{end}" for name in LIKENESS for end in ("", "_low", "_high")]
    head = ["task", "setting", "kind", "defense", "attack"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*head, *spread, "threat-model", "note"])
    return table


def latest(records: Iterable[Record]) -> list[Record]:
    """Return one record per cell, the newest, in the order in which the cells first come."""
    found: dict[tuple[str, ...], Record] = {}
    for record in records:
        other = found.get(record.identity)
        if other is None or (record.created and other.created and record.created > other.created):
            found[record.identity] = record
    return list(found.values())


def _of_family(family: str, records: Iterable[Record]) -> list[Record]:
    return [record for record in latest(records) if record.family == family]


def title(record: Record) -> str:
    """Return a task's name as a person would say it: its data set, and the options that differ from default."""
    name, colon, options = record.task.spec.partition(":")
    return (name if record.data.name == name else f"{name}({record.data.name})") + colon + options


def setting_text(record: Record) -> str:
    """Return the setting in words."""
    copies = f", {record.data.duplicates} duplicated examples" if record.data.duplicates else ""
    members = "half of it members"
    counted = record.utility.train_accuracy.n / record.targets if record.utility else record.data.pool / 2
    own_split = abs(counted - record.data.pool / 2) > 0.5  # noqa: PLR2004 - half of an odd pool is a whole number
    if own_split and record.canaries is None:
        members = f"{counted:g} of them members"
    salt = f", salt {record.salt[:8]}..." if record.salt else ""
    return (
        f"{record.models} models, {record.targets} targets, pool of {record.data.pool}, {members}{copies}, "
        f"seed {record.seed}{salt}, {record.device}; 95 % intervals"
    )


def _columns() -> list[str]:
    spread = [f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")]
    head = ["task", "setting", "defense", "attack"]
    tail = ["canary-attack", "epsilon", "delta", "seconds-per-model", *COSTS, "threat-model"]
    return [*head, *spread, *tail, "barely-supported", "note"]


def _setting(record: Record) -> tuple[Any, ...]:
    drawn = (record.models, record.targets, record.seed, record.salt)
    return (title(record), record.data.fingerprint, *drawn, record.device)


def _ranked(defenses: Mapping[str, Sequence[Record]], rank_by: str) -> list[dict[str, Any]]:
    """Return the rows of one setting, safest first, those without a rank last."""
    attacks = {record.attack.spec for records in defenses.values() for record in records}
    strongest = {name: _strongest(records, rank_by) for name, records in defenses.items()}
    values = sorted(value for value, _ in strongest.values() if value is not None)
    rows = []
    for name, records in defenses.items():
        value, record = strongest[name]
        failed = [each for each in records if each.status == "failed"]
        notes = remarks.faults(failed)
        if value is None and any(each.status == "ok" for each in records):
            notes.append(f"no rank: the examples are too few to support {rank_by}")
        notes += filter(None, (remarks.collapse(record), remarks.claims(record)))
        missing = sorted(attacks - {each.attack.spec for each in records})
        notes += [f"not attacked by {', '.join(missing)}"] if missing else []
        rank = None if value is None else 1 + values.index(value)
        notes += remarks.faults([each for each in records if each.status == "n/a"])
        row = _row(record, "; ".join(notes), _strongest(records, CANARY)[1])
        counts = {"attacks": sum(each.status == "ok" for each in records), "failed": len(failed)}
        rows.append({"rank": rank, **row, **counts})
    return sorted(rows, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["defense"]))


def _strongest(records: Sequence[Record], rank_by: str) -> tuple[float | None, Record]:
    """Return the record of the strongest attack and its number; None is no number, and never means safe."""
    best: tuple[float | None, Record] = (None, next((r for r in records if r.status == "ok"), records[0]))
    for record in records:
        estimate = RANKINGS[rank_by](record)
        if estimate is not None and estimate.value is not None and (best[0] is None or estimate.value > best[0]):
            best = (estimate.value, record)
    return best


def _row(record: Record, note: str, canaries: Record | None = None) -> dict[str, Any]:
    """Return the columns of one record; what is said of canaries may be another's."""
    canaries = canaries or record
    return {
        "task": title(record),
        "setting": setting_text(record),
        "defense": record.defense.spec,
        "attack": record.attack.spec,
        "epsilon": record.facts.get("epsilon"),
        "delta": record.facts.get("delta"),
        "seconds-per-model": record.cost.seconds_per_model if record.cost else None,
        **{name: getattr(record.cost, field) if record.cost else None for name, field in COSTS.items()},
        "threat-model": record.threat_model,
        "canary-attack": canaries.attack.spec if canaries.canaries else None,
        "barely-supported": " ".join([*_barely(record.metrics), *_barely(canaries.canaries, "canary-")]),
        "note": note,
        **_spread({name: find(canaries if name in OF_CANARIES else record) for name, find in NUMBERS.items()}),
    }


def _reconstructed(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the rows of one setting: attacks, and their controls."""
    records = sorted(records, key=lambda record: (record.defense.spec != "ce", record.defense.spec, record.attack.spec))
    setting = f"{setting_text(records[0])}{next(filter(None, map(_judged, records)), '')}"
    rows, controls = [], {}
    for record in records:
        head = {"task": title(record), "setting": setting}
        named = {"kind": "attack", "defense": record.defense.spec, "attack": record.attack.spec}
        tail = {"threat-model": record.threat_model, "note": remarks.fault(record)}
        found = record.reconstruction
        numbers = {name: getattr(found.attack, field) for name, field in LIKENESS.items() if found and field}
        numbers["test-accuracy"] = NUMBERS["test-accuracy"](record)
        rows.append({**head, **named, **_spread(numbers), **tail})
        if found is None:
            continue
        made = {
            "real test images": found.heldout,
            "uniform noise": found.noise,
            f"{record.attack.spec}, untrained nets": found.untrained,
        }
        for what, likeness in made.items():
            if likeness is None or what in controls:
                continue
            numbers = {name: getattr(likeness, field) for name, field in LIKENESS.items() if field}
            named = {"kind": "control", "defense": "(control)", "attack": what}
            controls[what] = {**head, **named, **_spread(numbers), "threat-model": "", "note": ""}
    return [*rows, *controls.values()]


def _judged(record: Record) -> str:
    """Return who judged the images, in words."""
    found = record.reconstruction
    if found is None:
        return ""
    accuracy = f"{100 * (found.evaluator_accuracy.value or 0):.1f}"
    return f"; E: {found.evaluator}, test accuracy {accuracy} %; detected by: {found.detector}"


def _spread(numbers: Mapping[str, Estimate | None]) -> dict[str, Any]:
    """Return numbers with the ends of their intervals, as the columns of a row."""
    row: dict[str, Any] = {}
    for name, estimate in numbers.items():
        ends = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
        row.update(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return row


def _barely(found: Metrics | Canaries | None, prefix: str = "") -> list[str]:
    """Return the rates that stand on fewer than ten false positives."""
    points = found.tpr_at_fpr if found else []
    return [f"{prefix}{_tpr_name(point.fpr)}" for point in points if point.supported == "barely"]


def _tpr_name(fpr: float) -> str:
    return f"tpr@{100 * fpr:g}%"
