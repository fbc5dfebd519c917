"""Leaderboards for people: in a terminal, as Markdown and LaTeX; and for programs: CSV and JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from privbench.errors import UsageError, did_you_mean
from privbench.leaderboard import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from rich.console import RenderableType

FORMATS = ("md", "csv", "json", "latex")
HEADINGS = {
    "rank": "#",
    "defense": "defense",
    "attack": "attack",
    "tpr@1%": "TPR at 1 % FPR",
    "tpr@0.1%": "TPR at 0.1 % FPR",
    "auc": "AUC",
    "balanced-accuracy": "bal. acc. %",
    "oracle-balanced-accuracy": "oracle bal. acc. %",
    "test-accuracy": "test acc. %",
    "train-accuracy": "train acc. %",
    "cost": "cost",
    "threat-model": "attacker sees",
}
"""What a person is shown, in this order, as far as the table has it."""

TEXT = ("defense", "attack", "threat-model")
RANKED_ONLY = ("rank", "train-accuracy", "test-accuracy", "cost", "threat-model")
CELLS_ONLY = ("oracle-balanced-accuracy",)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text with intervals, under the headings that a person reads."""
    ranked = "rank" in table
    left_out = CELLS_ONLY if ranked else RANKED_ONLY
    shown = {name: [_text(row, name) for row in table.to_dict("records")] for name in HEADINGS if name not in left_out}
    headings = {**HEADINGS, "attack": "strongest attack"} if ranked else HEADINGS
    text: pd.DataFrame = type(table)({headings[name]: column for name, column in shown.items()})
    return text


def export(table: pd.DataFrame, form: str) -> str:
    """Return the table as Markdown, CSV, JSON or LaTeX; CSV and JSON hold plain numbers, not percent."""
    if form not in FORMATS:
        raise UsageError(f"No format {form!r}.{did_you_mean(form, FORMATS)} Use one of {', '.join(FORMATS)}.")
    if form == "csv":
        return str(table.to_csv(index=False, lineterminator="\n"))
    if form == "json":
        return str(table.to_json(orient="records", indent=1, double_precision=12)) + "\n"
    draw = {"md": _markdown, "latex": _latex}[form]
    groups = table.groupby(["task", "setting"], sort=False)
    return "\n".join(draw(str(task), str(setting), group) for (task, setting), group in groups)


def render(table: pd.DataFrame) -> RenderableType:
    """Return the table for a terminal: one block per setting, notes below."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    blocks: list[RenderableType] = []
    for (task, setting), group in table.groupby(["task", "setting"], sort=False):
        shown = readable(group)
        text = {HEADINGS[name] for name in TEXT} | {"strongest attack"}
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for heading in shown.columns:
            justify = "left" if heading in text else "right"
            drawn.add_column(heading, justify=justify, overflow="fold", vertical="top")  # type: ignore[arg-type]
        for row in shown.itertuples(index=False):
            drawn.add_row(*(Text(value, style="dim" if value in {"n/a", "failed", "-"} else "") for value in row))
        blocks += [Text(str(task), style="bold"), Text(str(setting), style="dim"), drawn]
        blocks += [Text(note) for note in _notes(group)]
    return Group(*blocks)


def _text(row: Mapping[Any, Any], name: str) -> str:
    if name in NUMBERS:
        return _estimate_text(row, name)
    if name == "rank":
        return "-" if _absent(row["rank"]) else f"{row['rank']:.0f}"
    if name == "cost":
        return _cost_text(row["seconds-per-model"], row["relative-to-ce"])
    return str(row[name])


def _estimate_text(row: Mapping[Any, Any], name: str) -> str:
    """Return "3.1 [2.5, 3.8]", in percent but for the AUC; or why there is no number."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if _absent(value):
        return "failed" if _absent(row["auc"]) and "failed" in row["note"] else "n/a"
    scale, digits = (1, 3) if name == "auc" else (100, 1)
    text = f"{value * scale:.{digits}f}"
    return text if _absent(low) else f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def _cost_text(seconds: float | None, ratio: float | None) -> str:
    if seconds is None or _absent(seconds):
        return "n/a"
    text = f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"  # noqa: PLR2004 - two digits are enough
    return text if ratio is None or _absent(ratio) else f"{text}, {ratio:.2g} x ce"


def _absent(value: Any) -> bool:
    """Return whether a number is missing; among numbers, pandas keeps None as NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _notes(group: pd.DataFrame) -> list[str]:
    return [f"{defense}: {note}" for defense, note in zip(group["defense"], group["note"], strict=True) if note]


def _markdown(task: str, setting: str, group: pd.DataFrame) -> str:
    shown = readable(group)
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    body = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
    notes = "".join(f"\n- {note}" for note in _notes(group))
    return f"### {task}\n\n{setting}\n\n{body}" + (f"{notes}\n" if notes else "")


def _latex(task: str, setting: str, group: pd.DataFrame) -> str:
    def escape(text: str) -> str:
        return "".join("\\" + char if char in "#%&_$" else char for char in text)

    shown = readable(group)
    head, *body = (" & ".join(map(escape, line)) + r" \\" for line in [list(shown.columns), *shown.to_numpy().tolist()])
    notes = [f"% {line}" for line in (f"{task}: {setting}", *_notes(group))]
    begin = rf"\begin{{tabular}}{{{'l' * len(shown.columns)}}}"
    return "\n".join([*notes, begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"]) + "\n"
