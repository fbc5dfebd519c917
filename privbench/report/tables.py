"""Leaderboards as text (terminal, Markdown, LaTeX) and as data (CSV, JSON)."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from privbench import escapes
from privbench.errors import UsageError, did_you_mean
from privbench.escapes import latex, markdown, printable
from privbench.grid.costs import SPREAD
from privbench.records.comparable import INTERVALS
from privbench.records.leaderboard import COSTS, LIKENESS, NUMBERS
from privbench.records.ranking import RANKINGS
from privbench.report.columns import DIGITS, DISPENSABLE, HEADINGS, LEFT, WORSE, check, headings, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from rich.console import RenderableType

FORMATS = ("md", "csv", "json", "latex")
BARELY, BARELY_NOTE = "~", "~: fewer than 10 false positives are allowed here; take the number as a hint."
ALONE = "*"
ALONE_NOTE = (
    "*: interval of this attack alone, though it is the strongest of several: too narrow. Bands that account for the "
    "choice are kept by a run of all attacks, or made of the raw scores of all."
)
UNMET = " !"
UNMET_NOTE = "!: by its own measurements, the defense did not do what it is meant to do; a note says in what."
NA = "n/a"
NA_NOTE = "n/a: too few examples or models to support a number, or the attack does not apply; the record says which."


def readable(table: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return the table as text with intervals, with headings for readers."""
    shown = headings(table, columns)
    text: pd.DataFrame = type(table)(_cells(table, shown), columns=list(shown))
    text.columns = [heading.replace("\n", " ") for heading in shown.values()]
    return text


def export(table: pd.DataFrame, form: str, columns: Sequence[str] = ()) -> str:
    """Return the table as Markdown, CSV, JSON or LaTeX; CSV and JSON have plain numbers, not percentages.

    columns: columns in this order, by their names in CSV; all by default.

    Raises UsageError for an unknown format or column.
    """
    if form not in FORMATS:
        raise UsageError(f"No format {form!r}.{did_you_mean(form, FORMATS)} Use one of {', '.join(FORMATS)}.")
    check(columns)
    if form in ("csv", "json"):
        table = table[plain(table, columns)] if columns else table
    if form == "csv":
        return csv(table)
    if form == "json":
        return str(table.to_json(orient="records", indent=1, double_precision=12)) + "\n"
    draw = {"md": _markdown, "latex": _latex}[form]
    groups = table.groupby(["task", "setting"], sort=False)
    return "\n".join(
        draw(str(task), _caption(table, setting, group), group, columns) for (task, setting), group in groups
    )


def csv(table: pd.DataFrame) -> str:
    """Return a table as CSV; texts that a spreadsheet would compute are escaped."""
    safe = table.copy()
    for name, column in table.items():
        if any(isinstance(cell, str) for cell in column):
            safe[name] = column.map(escapes.csv)
    safe.columns = safe.columns.map(escapes.csv)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def export_all(tables: Sequence[pd.DataFrame], form: str, columns: Sequence[str] = ()) -> str:
    """Return several tables: one after the other for readers; as one table with a column `family` in CSV and JSON.

    There is no column `family` for a single table, or for membership attacks alone.
    """
    import pandas as pd

    tables = [table for table in tables if not table.empty] or list(tables[:1])
    if form in ("md", "latex") or len(tables) == 1:
        return "\n".join(export(table, form, columns) for table in tables)
    families = [("reconstruction" if "kind" in table else "membership") for table in tables]
    parts = [table.astype(object) for table in tables]
    if len(set(families)) > 1:
        parts = [part.assign(family=family) for part, family in zip(parts, families, strict=True)]
        columns = [*columns, "family"] if columns else columns
    return export(pd.concat(parts, ignore_index=True), form, columns)


def render(table: pd.DataFrame, *, folders: Sequence[Path] = (), columns: Sequence[str] = ()) -> RenderableType:
    """Return the table for a terminal: one block per setting, in the richest layout that fits, with notes below.

    folders: folders of the records, for the command that exports the columns left out.
    columns: columns to show; all by default.
    """
    from rich.console import Group

    from privbench.report.terminal import Block

    check(columns)
    layout: dict[str, Any] = {"dispensable": DISPENSABLE} if "kind" in table else {}
    layout |= {"dispensable": ()} if columns else {}  # requested columns are never left out
    blocks = []
    for (task, setting), group in table.groupby(["task", "setting"], sort=False):
        shown = headings(group, columns)
        blocks.append(
            Block(
                title=printable(str(task)),
                caption=printable(_caption(table, setting, group)),
                headings=shown,
                rows=[{name: printable(cell) for name, cell in row.items()} for row in _cells(group, shown)],
                notes=list(map(printable, _notes(group))),
                explain=explained,
                export=shlex.join(["privbench", "leaderboard", "export", *map(str, folders)]),
                keep=str(table.attrs.get("rank_by", "")),
                **layout,
            )
        )
    return Group(*blocks)


def explained(texts: Iterable[str]) -> list[str]:
    """Return the notes on the marks in cells."""
    found = set(texts)
    notes = [UNMET_NOTE] if any(text.endswith(UNMET) for text in found) else []
    notes += [ALONE_NOTE] if any(text.endswith(f"]{ALONE}") for text in found) else []
    notes += [BARELY_NOTE] if any(text.startswith(BARELY) for text in found) else []
    return notes + ([NA_NOTE] if NA in found else [])


def _cells(table: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    return [{name: _text(row, name) for name in names} for row in table.to_dict("records")]


def _caption(table: pd.DataFrame, setting: Any, group: pd.DataFrame) -> str:
    """Return the setting and the ranking as text."""
    if "kind" in table:
        return f"{setting}; {WORSE}"
    by = table.attrs.get("rank_by")
    if by not in RANKINGS:
        return str(setting).replace(INTERVALS, f"{INTERVALS}, each of one attack alone")
    name = HEADINGS[by].replace(" % at", " at").replace("\n% at", " at").replace("\n", " ").removesuffix(" %")
    compared = str(group["compared"].iloc[0])
    if not compared:
        why = "no attack with a result was run against every defense (--attacks declares which must be)"
        return f"{setting}; not ranked: {why}"
    if ", " not in compared:
        return f"{setting}; ranked by {name} of {compared}, safest first"
    pairs = zip(group["among"], group["alone"], strict=True)
    known = any(among > 1 and by not in str(alone).split() for among, alone in pairs)
    choice = ", with intervals that account for the choice" if known else ""
    return f"{setting}; ranked by {name} of the strongest of {compared}{choice}; safest first"


def _text(row: Mapping[Any, Any], name: str) -> str:
    if name in NUMBERS or name in LIKENESS:
        return _estimate_text(row, name)
    if name == "rank":
        return "-" if _absent(row["rank"]) else f"{row['rank']:.0f}"
    if name == "cost":
        return _cost_text(row["seconds-per-model"], *(row[column] for column in COSTS))
    if name == "epsilon":
        return _epsilon_text(row["epsilon"], row["delta"])
    mark = UNMET if name == "defense" and row.get("unmet") else ""
    return "" if _absent(row[name]) else f"{row[name]}{mark}"


def _epsilon_text(epsilon: float | None, delta: float | None) -> str:
    """Return epsilon as text, such as "8 (1e-05)"; "-" for a defense without a claim."""
    if epsilon is None or _absent(epsilon):
        return "-"
    return f"{epsilon:.3g}" + ("" if delta is None or _absent(delta) else f" ({delta:g})")


def _estimate_text(row: Mapping[Any, Any], name: str) -> str:
    """Return text such as "3.1 [2.5, 3.8]", in percent or in the unit of the number; or "n/a" or "failed"."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if _absent(value):
        if row.get("kind") == "control" and name == "test-accuracy":
            return ""
        return "failed" if _absent(row.get("auc")) and _absent(row.get("accuracy")) and "failed" in row["note"] else NA
    scale, digits = DIGITS.get(name, (100, 1))
    text = f"{BARELY if name in row.get('barely-supported', '').split() else ''}{value * scale:.{digits}f}"
    mark = ALONE if name in row.get("alone", "").split() else ""
    return text if _absent(low) else f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]{mark}"


def _cost_text(seconds: float | None, ratio: float | None, low: float | None, high: float | None) -> str:
    """Return text such as "8.2 s (2.3 to 9.2 x ce)"; the seconds alone if the ratio may be 1."""
    if seconds is None or _absent(seconds):
        return NA
    text = f"{_two_digits(seconds)} s"
    if ratio is None or _absent(ratio):
        return text
    if low is None or high is None or _absent(low) or _absent(high):  # an old record without intervals
        low, high = ratio / SPREAD, ratio * SPREAD
    if low <= 1 <= high:
        return text
    return f"{text} ({_two_digits(low)} to {_two_digits(high)} x ce)"


def _two_digits(number: float) -> str:
    return f"{number:.2g}" if number < 99.5 else f"{number:.0f}"  # noqa: PLR2004 - from where "g" writes an exponent


def _absent(value: Any) -> bool:
    """Return whether a number is missing; pandas keeps None as NaN or NA."""
    import pandas as pd

    return bool(pd.isna(value))


def _notes(group: pd.DataFrame) -> list[str]:
    said: dict[tuple[str, str], list[str]] = {}  # equal notes on several attacks become one
    for defense, attack, note in zip(group["defense"], group["attack"], group["note"], strict=True):
        if note:
            own = [attack] if note.startswith(f"{attack} ") else []
            said.setdefault((defense, note.removeprefix(f"{attack} ")), []).extend(own)
    notes = []
    for (defense, note), attacks in said.items():
        rest = note.replace("does not apply", "do not apply") if len(attacks) > 1 else note
        notes.append(f"{defense}: {' '.join(filter(None, (', '.join(attacks), rest)))}")
    return [*_findings(group), *notes]


def _findings(group: pd.DataFrame) -> list[str]:
    """Return the further findings of attacks, one line each."""
    if "findings" not in group:
        return []
    found = zip(group["defense"], group["attack"], group["findings"], strict=True)
    return [f"{defense}: {attack} found {text}" for defense, attack, text in found if text]


def _all_notes(group: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    return [*_notes(group), *explained(map(str, shown.to_numpy().ravel()))]


def _markdown(task: str, caption: str, group: pd.DataFrame, columns: Sequence[str]) -> str:
    shown = readable(group, columns)
    rule = ["---" if name in LEFT else "---:" for name in headings(group, columns)]
    body = "\n".join(markdown_lines([list(shown.columns), rule, *shown.to_numpy().tolist()])) + "\n"
    notes = "".join(f"\n- {markdown(note)}" for note in _all_notes(group, shown))
    return f"### {markdown(task)}\n\n{markdown(caption)}\n\n{body}" + (f"{notes}\n" if notes else "")


def markdown_lines(lines: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table from its cells."""
    return ["| " + " | ".join(map(markdown, line)) + " |" for line in lines]


def _latex(task: str, caption: str, group: pd.DataFrame, columns: Sequence[str]) -> str:
    shown = readable(group, columns)
    head, *body = (" & ".join(map(latex, line)) + r" \\" for line in [list(shown.columns), *shown.to_numpy().tolist()])
    notes = [
        f"% {printable(line)}"
        for line in (f"{task}: {caption}", *_all_notes(group, shown), r"Needs \usepackage{booktabs}.")
    ]
    align = "".join("l" if name in LEFT else "r" for name in headings(group, columns))
    begin, rules = rf"\begin{{tabular}}{{{align}}}", (r"\toprule", r"\midrule", r"\bottomrule")
    return "\n".join([*notes, begin, rules[0], head, rules[1], *body, rules[2], r"\end{tabular}"]) + "\n"
