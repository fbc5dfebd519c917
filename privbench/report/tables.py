"""Leaderboards for people: in a terminal, as Markdown and LaTeX; and for programs: CSV and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench.costs import SPREAD
from privbench.errors import UsageError, did_you_mean
from privbench.leaderboard import COSTS, LIKENESS, NUMBERS, RANKINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from rich.console import RenderableType

FORMATS = ("md", "csv", "json", "latex")
HEADINGS = {
    "rank": "#",
    "defense": "defense",
    "attack": "attack",
    "tpr@1%": "TPR % at\n1 % FPR",
    "tpr@0.1%": "TPR % at\n0.1 % FPR",
    "auc": "AUC",
    "canary-tpr@1%": "canaries' TPR\n% at 1 % FPR",
    "canary-attack": "canaries'\nattack",
    "balanced-accuracy": "balanced\nacc. %",
    "oracle-balanced-accuracy": "oracle\nbal. acc. %",
    "test-accuracy": "test\nacc. %",
    "train-accuracy": "train\nacc. %",
    "epsilon": "epsilon\n(delta)",
    "cost": "cost of\na model",
    "threat-model": "attacker sees",
}
"""What a person is shown, in this order, as far as the table has it; a terminal breaks headings at the newline."""
ONLY_WHERE_ANY = ("canary-tpr@1%", "canary-attack", "epsilon")
"""Columns that are left out where no row has anything to say there."""

RECONSTRUCTED = {
    "defense": "defense",
    "attack": "attack",
    "accuracy": "recognised\nby E %",
    "confidence": "target's\nconfid. %",
    "detected": "detected\n%",
    "distance-ratio": "distance\nratio",
    "feature-distance": "feature\ndistance",
    "psnr-mean": "PSNR dB to\nclass mean",
    "psnr-member": "PSNR dB to\nmember",
    "psnr-nonmember": "PSNR dB to\nnon-member",
    "ssim-mean": "SSIM to\nclass mean",
    "ssim-member": "SSIM to\nmember",
    "ssim-nonmember": "SSIM to\nnon-member",
    "test-accuracy": "test\nacc. %",
    "threat-model": "attacker sees",
}
"""The same of the table of reconstructions."""
DISPENSABLE = (
    "ssim-nonmember",
    "ssim-mean",
    "psnr-nonmember",
    "test-accuracy",
    "ssim-member",
    "detected",
    "psnr-mean",
    "confidence",
    "psnr-member",
    "feature-distance",
)
"""What goes first from that where there is no room for all."""
WORSE = (
    "worse for privacy: higher shares, PSNR and SSIM, lower feature distance, and a distance ratio (to the nearest "
    "member / to the nearest non-member) below 1"
)
DIGITS = {"auc": (1, 3), "distance-ratio": (1, 3), "feature-distance": (1, 2)}
"""What is not in percent with one digit: the factor, and the digits after the point."""
DIGITS |= {f"psnr-{to}": (1, 1) for to in ("mean", "member", "nonmember")}
DIGITS |= {f"ssim-{to}": (1, 2) for to in ("mean", "member", "nonmember")}

RANKED_ONLY = ("rank", "train-accuracy", "test-accuracy", "cost", "canary-attack", "epsilon")
CELLS_ONLY = ("oracle-balanced-accuracy",)
BARELY, BARELY_NOTE = "~", "~: fewer than 10 false positives are allowed here; take the number as a hint."
NA = "n/a"
NA_NOTE = "n/a: too few examples or models to support a number, or the attack does not apply; the record says which."
_LATEX = {
    **{char: "\\" + char for char in "#%&_${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text with intervals, under the headings that a person reads."""
    headings = _headings(table)
    text: pd.DataFrame = type(table)(_cells(table, headings), columns=list(headings))
    text.columns = [heading.replace("\n", " ") for heading in headings.values()]
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
    return "\n".join(draw(str(task), _caption(table, setting), group) for (task, setting), group in groups)


def export_both(table: pd.DataFrame, reconstructions: pd.DataFrame, form: str) -> str:
    """Return membership and reconstruction attacks: two tables to read; one of CSV or JSON, where `family` tells."""
    import pandas as pd

    if reconstructions.empty:
        return export(table, form)
    if form in ("md", "latex"):
        return "\n".join(export(each, form) for each in (table, reconstructions) if not each.empty)
    families = {"membership": table, "reconstruction": reconstructions}
    parts = [each.astype(object).assign(family=family) for family, each in families.items() if not each.empty]
    return export(pd.concat(parts, ignore_index=True), form)


def render(table: pd.DataFrame) -> RenderableType:
    """Return the table for a terminal: one block per setting, in the richest layout it has room for, notes below."""
    from rich.console import Group

    from privbench.report.terminal import Block

    headings, by = _headings(table), str(table.attrs.get("rank_by", ""))
    return Group(
        *(
            Block(
                title=str(task),
                caption=_caption(table, setting),
                headings=headings,
                rows=_cells(group, headings),
                notes=_notes(group),
                explained={NA: NA_NOTE},
                keep=by,
                **({"dispensable": DISPENSABLE} if "kind" in table else {}),
            )
            for (task, setting), group in table.groupby(["task", "setting"], sort=False)
        )
    )


def _headings(table: pd.DataFrame) -> dict[str, str]:
    """Return the headings of the columns that this kind of table shows."""
    if "kind" in table:
        return RECONSTRUCTED
    ranked = "rank" in table
    left_out = CELLS_ONLY if ranked else RANKED_ONLY
    left_out = (*left_out, *(name for name in ONLY_WHERE_ANY if name not in table or table[name].isna().all()))
    shown = {name: heading for name, heading in HEADINGS.items() if name not in left_out}
    return {**shown, "attack": "strongest\nattack"} if ranked else shown


def _cells(table: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    return [{name: _text(row, name) for name in names} for row in table.to_dict("records")]


def _caption(table: pd.DataFrame, setting: Any) -> str:
    """Return the setting, and what ranks."""
    if "kind" in table:
        return f"{setting}; {WORSE}"
    by = table.attrs.get("rank_by")
    if by not in RANKINGS:
        return str(setting)
    return f"{setting}; ranked by {HEADINGS[by].replace(' % at', ' at').replace(chr(10), ' ')}, safest first"


def _text(row: Mapping[Any, Any], name: str) -> str:
    if name in NUMBERS or name in LIKENESS:
        return _estimate_text(row, name)
    if name == "rank":
        return "-" if _absent(row["rank"]) else f"{row['rank']:.0f}"
    if name == "cost":
        return _cost_text(row["seconds-per-model"], *(row[column] for column in COSTS))
    if name == "epsilon":
        return _epsilon_text(row["epsilon"], row["delta"])
    return "" if _absent(row[name]) else str(row[name])


def _epsilon_text(epsilon: float | None, delta: float | None) -> str:
    """Return "8 (1e-05)"; "-" for a defense that promises none."""
    if epsilon is None or _absent(epsilon):
        return "-"
    return f"{epsilon:.3g}" + ("" if delta is None or _absent(delta) else f" ({delta:g})")


def _estimate_text(row: Mapping[Any, Any], name: str) -> str:
    """Return "3.1 [2.5, 3.8]", in percent or in the number's own unit; or why there is no number."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if _absent(value):
        if row.get("kind") == "control" and name == "test-accuracy":
            return ""
        return "failed" if _absent(row.get("auc")) and _absent(row.get("accuracy")) and "failed" in row["note"] else NA
    scale, digits = DIGITS.get(name, (100, 1))
    text = f"{BARELY if name in row.get('barely-supported', '').split() else ''}{value * scale:.{digits}f}"
    return text if _absent(low) else f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def _cost_text(seconds: float | None, ratio: float | None, low: float | None, high: float | None) -> str:
    """Return "8.2 s (2.3 to 9.2 x ce)"; the seconds alone where the ratio may be 1."""
    if seconds is None or _absent(seconds):
        return NA
    text = f"{_two_digits(seconds)} s"
    if ratio is None or _absent(ratio):
        return text
    if low is None or high is None or _absent(low) or _absent(high):  # a record from before there were intervals
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
    barely = [BARELY_NOTE] if "barely-supported" in group and (group["barely-supported"] != "").any() else []
    said: dict[tuple[str, str], list[str]] = {}  # what is noted of several attacks is said once
    for defense, attack, note in zip(group["defense"], group["attack"], group["note"], strict=True):
        if note:
            own = [attack] if note.startswith(f"{attack} ") else []
            said.setdefault((defense, note.removeprefix(f"{attack} ")), []).extend(own)
    notes = []
    for (defense, note), attacks in said.items():
        rest = note.replace("does not apply", "do not apply") if len(attacks) > 1 else note
        notes.append(f"{defense}: {' '.join(filter(None, (', '.join(attacks), rest)))}")
    return [*_findings(group), *notes, *barely]


def _findings(group: pd.DataFrame) -> list[str]:
    """Return what attacks found besides, a line each."""
    if "findings" not in group:
        return []
    found = zip(group["defense"], group["attack"], group["findings"], strict=True)
    return [f"{defense}: {attack} found {text}" for defense, attack, text in found if text]


def _all_notes(group: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    return [*_notes(group), *([NA_NOTE] if (shown == NA).to_numpy().any() else [])]


def _markdown(task: str, caption: str, group: pd.DataFrame) -> str:
    shown = readable(group)
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    body = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
    notes = "".join(f"\n- {note}" for note in _all_notes(group, shown))
    return f"### {task}\n\n{caption}\n\n{body}" + (f"{notes}\n" if notes else "")


def _latex(task: str, caption: str, group: pd.DataFrame) -> str:
    def escape(text: str) -> str:
        return "".join(_LATEX.get(char, char) for char in text)

    shown = readable(group)
    head, *body = (" & ".join(map(escape, line)) + r" \\" for line in [list(shown.columns), *shown.to_numpy().tolist()])
    notes = [f"% {line}" for line in (f"{task}: {caption}", *_all_notes(group, shown))]
    begin = rf"\begin{{tabular}}{{{'l' * len(shown.columns)}}}"
    return "\n".join([*notes, begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"]) + "\n"
