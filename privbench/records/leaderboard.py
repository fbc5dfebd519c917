"""Leaderboards: records as tables, each defense ranked by its strongest attack, with its utility.

Results of reconstruction attacks are in a separate table without ranks, because no single number measures similarity.
`comparable.py` decides which records may be compared, `ranking.py` how they are ranked; `privbench.report.tables`
formats and exports the tables.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from privbench.records import ranking, remarks
from privbench.records.comparable import SHOWN, differences, generations, latest, setting, setting_text, title
from privbench.records.ranking import CANARY, RANKINGS
from privbench.stats.likeness import Likeness
from privbench.stats.roc import tpr_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from privbench.records.parts import Canaries
    from privbench.records.record import Record
    from privbench.stats.intervals import Estimate
    from privbench.stats.metrics import Metrics

NUMBERS: Mapping[str, Callable[[Record], Estimate | None]] = {
    **RANKINGS,
    "oracle-balanced-accuracy": lambda record: record.metrics.oracle_balanced_accuracy if record.metrics else None,
    "canary-auc": lambda record: record.canaries.auc if record.canaries else None,
    "test-accuracy": lambda record: record.utility.test_accuracy if record.utility else None,
    "train-accuracy": lambda record: record.utility.train_accuracy if record.utility else None,
}
"""Columns with an interval, as NAME, NAME_low and NAME_high."""

COSTS = {
    "relative-to-ce": "relative_to_ce",
    "relative-to-ce_low": "relative_low",
    "relative-to-ce_high": "relative_high",
}
"""Columns of the cost relative to undefended training, and the fields of a record's cost."""

OF_CANARIES = (CANARY, "canary-auc")

LIKENESS: Mapping[str, str] = {**{name.replace("_", "-"): name for name in Likeness.model_fields}, "test-accuracy": ""}
"""The same for the table of reconstructions: columns, and names in a record."""


def frame(
    records: Iterable[Record],
    *,
    rank_by: str = next(iter(RANKINGS)),
    attacks: Sequence[str] | None = None,
    heading: str = "",
) -> pd.DataFrame:
    """Return one row per (setting, defense): its strongest attack by `rank_by`, every number with its interval.

    A setting is a task with its data, the numbers of models and targets, the seed and the device; records of other
    code, libraries or machines have a separate table. Ranks count within one setting, the safest defense first, over
    the attacks that are declared by their full texts or, without a declaration, that were run against all. Results on
    canaries are those of the strongest attack on canaries, `canary-attack`. A defense that lacks one of these attacks,
    whose attacks all failed, or whose n supports no number, has no rank and is last.

    heading: of the board, before each setting

    Raises UsageError for an unknown ranking.
    """
    import pandas as pd

    ranking.check(rank_by)
    rows = [
        row
        for text, comparable in _settings("membership", records, heading)
        for row in _ranked(comparable, text, rank_by, attacks)
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["rank", *columns(), *RANKED_ONLY])
    table["rank"] = table["rank"].astype("Int64")
    table.attrs["rank_by"] = rank_by
    return table


def cells(records: Iterable[Record], *, heading: str = "") -> pd.DataFrame:
    """Return one unranked row per record: every membership attack on every defense, with the attack's findings."""
    import pandas as pd

    rows = [
        {**_row(record, text, _said(record)), "findings": remarks.findings(record)}
        for text, comparable in _settings("membership", records, heading)
        for record in comparable
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*columns(), "findings"])
    return table


def reconstructions(records: Iterable[Record], *, heading: str = "") -> pd.DataFrame:
    """Return one row per reconstruction attack on a defense, undefended first, followed by their controls.

    `kind` is "attack" or "control". Controls occur once per setting, from its first attack; the control with untrained
    networks once for each attack.
    """
    import pandas as pd

    settings = _settings("reconstruction", records, heading)
    rows = [row for text, comparable in settings for row in _reconstructed(comparable, text)]
    spread = [f"{name}{end}" for name in LIKENESS for end in ("", "_low", "_high")]
    head = ["task", "setting", "kind", "defense", "attack"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*head, *spread, "threat-model", "unmet", "note"])
    return table


def apart(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Return the tasks with records of one setting that may not be ranked together, and their differences."""
    settings: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        settings.setdefault((record.family, *setting(record)), []).append(record)
    differing = ((title(each[0]), ", ".join(differences(each))) for each in settings.values())
    return list(dict.fromkeys((task, difference) for task, difference in differing if difference))


def _settings(family: str, records: Iterable[Record], heading: str) -> Iterator[tuple[str, list[Record]]]:
    """Yield the records that may be in one table, with a description of their common properties."""
    settings: dict[tuple[Any, ...], list[Record]] = {}
    for record in latest(records):
        if record.family == family:
            settings.setdefault(setting(record), []).append(record)
    heads = Counter((title(comparable[0]), setting_text(comparable)) for comparable in settings.values())
    for comparable in settings.values():
        alike = heads[title(comparable[0]), setting_text(comparable)] > 1
        data = f"data {comparable[0].data.fingerprint[:SHOWN]}" if alike else ""
        for difference, group in generations(comparable):
            only = f"only records with {difference}" if difference else ""
            yield "; ".join(filter(None, (heading, data, setting_text(group), only))), group


def columns() -> list[str]:
    """Return the columns of tables of membership attacks, in order."""
    spread = [f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")]
    head = ["task", "setting", "defense", "attack"]
    tail = ["canary-attack", "epsilon", "delta", "seconds-per-model", *COSTS, "threat-model"]
    return [*head, *spread, *tail, "barely-supported", "unmet", "note"]


RANKED_ONLY = ("compared", "lacks", "among", "alone", "attacks", "failed")
"""Columns of ranked tables: ranking attacks, those that a row lacks, the number among which the strongest was chosen,
columns whose interval ignores that choice, and the numbers of attacks that worked and failed."""


def _ranked(records: Sequence[Record], text: str, rank_by: str, declared: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the rows of comparable records, the safest first, those without a rank last."""
    ranked = ranking.rows(records, rank_by, declared)
    rows = []
    for row, rank, code in zip(ranked, ranking.ranks(ranked), ranking.of_other_code(ranked), strict=True):
        record, canaries = row.strongest(), row.strongest(CANARY)
        notes = [*row.notes(declared=declared is not None), *filter(None, [code])]
        shown = _row(record, text, "; ".join(notes), canaries)
        alone = _choose(shown, row, record, canaries)
        more = {
            "compared": ", ".join(row.compared),
            "lacks": ", ".join(row.lacking),
            "among": row.among(rank_by),
            "alone": " ".join(alone),
            "attacks": sum(each.status == "ok" for each in row.records),
            "failed": sum(each.status == "failed" for each in row.records),
        }
        rows.append({"rank": rank, **shown, **more})
    return sorted(rows, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["defense"]))


def _choose(shown: dict[str, Any], row: ranking.Row, record: Record, canaries: Record) -> list[str]:
    """Set intervals that account for the choice of the attack in a row; return the numbers without such intervals."""
    alone = []
    for name in (*RANKINGS, "canary-auc"):
        chosen, by = (canaries, CANARY) if name in OF_CANARIES else (record, row.rank_by)
        by = row.chosen_by(by)
        if shown[name] is None or row.among(by) <= 1:
            continue
        band = row.band(chosen, name, by)
        if band is None:
            alone.append(name)
        else:
            shown[f"{name}_low"], shown[f"{name}_high"] = band
    return alone


def _row(record: Record, text: str, note: str, canaries: Record | None = None) -> dict[str, Any]:
    """Return the columns of one record in a setting; results on canaries may be from another one."""
    canaries = canaries or record
    return {
        "task": title(record),
        "setting": text,
        "defense": record.defense.spec,
        "attack": record.attack.spec,
        "epsilon": record.facts.get("epsilon"),
        "delta": record.facts.get("delta"),
        "seconds-per-model": record.cost.seconds_per_model if record.cost else None,
        **{name: getattr(record.cost, field) if record.cost else None for name, field in COSTS.items()},
        "threat-model": record.threat_model,
        "canary-attack": canaries.attack.spec if canaries.canaries else None,
        "barely-supported": " ".join([*_barely(record.metrics), *_barely(canaries.canaries, "canary-")]),
        "unmet": len(record.unmet),
        "note": note,
        **_spread({name: find(canaries if name in OF_CANARIES else record) for name, find in NUMBERS.items()}),
    }


def _reconstructed(records: Sequence[Record], text: str) -> list[dict[str, Any]]:
    """Return the rows of one setting: attacks and their controls."""
    records = sorted(records, key=lambda record: (record.defense.spec != "ce", record.defense.spec, record.attack.spec))
    text += next(filter(None, map(_judged, records)), "")
    rows, controls = [], {}
    for record in records:
        head = {"task": title(record), "setting": text}
        named = {"kind": "attack", "defense": record.defense.spec, "attack": record.attack.spec}
        tail = {"threat-model": record.threat_model, "unmet": len(record.unmet), "note": _said(record)}
        reconstruction = record.reconstruction
        numbers = _alike(reconstruction.attack) if reconstruction else {}
        numbers["test-accuracy"] = NUMBERS["test-accuracy"](record)
        rows.append({**head, **named, **_spread(numbers), **tail})
        if reconstruction is None:
            continue
        made = {
            "real test images": reconstruction.heldout,
            "uniform noise": reconstruction.noise,
            f"{record.attack.spec}, untrained nets": reconstruction.untrained,
        }
        for what, likeness in made.items():
            if likeness is None or what in controls:
                continue
            named = {"kind": "control", "defense": "(control)", "attack": what}
            controls[what] = {**head, **named, **_spread(_alike(likeness)), "threat-model": "", "unmet": 0, "note": ""}
    return [*rows, *controls.values()]


def _said(record: Record) -> str:
    """Return the note on one record."""
    return "; ".join(filter(None, (remarks.fault(record), remarks.unmet(record))))


def _alike(images: Likeness) -> dict[str, Estimate | None]:
    """Return the numbers of images by the names of their columns."""
    return {name: getattr(images, field) for name, field in LIKENESS.items() if field}


def _judged(record: Record) -> str:
    """Return the description of the detector and the evaluation classifier."""
    reconstruction = record.reconstruction
    if reconstruction is None:
        return ""
    accuracy = f"{100 * (reconstruction.evaluator_accuracy.value or 0):.1f}"
    return f"; E: {reconstruction.evaluator}, test accuracy {accuracy} %; detected by: {reconstruction.detector}"


def _spread(numbers: Mapping[str, Estimate | None]) -> dict[str, Any]:
    """Return numbers with the limits of their intervals, as the columns of a row."""
    row: dict[str, Any] = {}
    for name, estimate in numbers.items():
        ends = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
        row.update(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return row


def _barely(measured: Metrics | Canaries | None, prefix: str = "") -> list[str]:
    """Return the rates with fewer than ten allowed false positives."""
    points = measured.tpr_at_fpr if measured else []
    return [f"{prefix}{tpr_name(point.fpr)}" for point in points if point.supported == "barely"]
