"""Leaderboard in a terminal: the most detailed layout that fits the width.

If there is room, a row is a line and each number has its interval next to it. If not, intervals move below their
numbers and threat models below the table; columns are omitted, the least important first, until the others fit with
narrow names; and the names then get the remaining room.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from privbench.report.columns import LEFT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

DISPENSABLE = (
    "train-accuracy",
    "tpr@0.1%",
    "oracle-balanced-accuracy",
    "balanced-accuracy",
    "cost",
    "auc",
    "canary-attack",
    "tpr@1%",
)
"""Columns in the order in which they are left out; test accuracy (utility) and the ranking column always stay."""

FOLDS = (32, 20, 14)
"""Widths at which long names of defenses and attacks are wrapped, after a ':', ',' or '+'."""

UNLIMITED = 100_000
FAINT = frozenset({"n/a", "failed", "-"})


@dataclass(frozen=True)
class Block:
    """Table of one setting; rows and headings have the same keys."""

    title: str
    caption: str
    headings: Mapping[str, str]
    rows: Sequence[Mapping[str, str]]
    notes: Sequence[str]
    explain: Callable[[Iterable[str]], list[str]]
    """Returns the notes on the texts in cells."""
    export: str
    """Command that shows all columns."""
    keep: str = ""
    """Ranking column, which is never left out."""
    dispensable: Sequence[str] = DISPENSABLE

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, table and notes."""
        unlimited = options.update(width=UNLIMITED)

        def fits(names: Sequence[str], fold: int | None) -> bool:
            return console.measure(self._table(names, fold), options=unlimited).maximum <= options.max_width

        names, fold = self._layout(fits)
        yield Text(self.title, style="bold")
        yield Text(self.caption, style="dim")
        yield self._table(names, fold)  # if nothing fits, rich breaks the cells
        if "threat-model" in self.headings and "threat-model" not in names:
            yield from map(Text, self._threats())
        yield from map(Text, self.notes)
        texts = {row[name] for row in self.rows for name in names}
        yield from map(Text, self.explain(texts))
        gone = [_flat(heading) for name, heading in self.headings.items() if name not in (*names, "threat-model")]
        if gone:
            yield Text(f"Left out for lack of room: {', '.join(gone)}. All: {self.export}", style="dim")

    def _layout(self, fits: Callable[[Sequence[str], int | None], bool]) -> tuple[Sequence[str], int | None]:
        """Return the columns to show, and the width of long names; None if a row is one line."""
        if fits(list(self.headings), None):
            return list(self.headings), None
        names = [name for name in self.headings if name != "threat-model"]
        for gone in self.dispensable:
            if fits(names, FOLDS[-1]):
                break
            names = [name for name in names if name != gone or name == self.keep]
        return names, next((fold for fold in FOLDS if fits(names, fold)), FOLDS[-1])

    def _table(self, names: Sequence[str], fold: int | None) -> Table:
        """Return a table of these columns: a line per row or, with a `fold`, intervals below their numbers."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
        for name in names:
            heading = self.headings[name] if fold else _flat(self.headings[name])
            table.add_column(heading, justify="left" if name in LEFT else "right", overflow="fold", vertical="top")
        for row in self.rows:
            table.add_row(*(_cell(name, row[name], fold) for name in names))
        return table

    def _threats(self) -> Iterator[str]:
        """Yield the threat models, each with all its attacks."""
        seen: dict[str, list[str]] = {}
        for row in filter(lambda row: row["threat-model"], self.rows):
            attacks = seen.setdefault(row["threat-model"], [])
            if row["attack"] not in attacks:
                attacks.append(row["attack"])
        for threat, attacks in seen.items():
            yield f"{', '.join(attacks)} {'sees' if len(attacks) == 1 else 'see'}: {threat}"


def _cell(name: str, text: str, fold: int | None) -> Text:
    if text in FAINT:
        return Text(text, style="dim")
    if fold is None:
        return Text(text)
    if name in LEFT:
        return Text(_folded(text, fold))
    number, space, rest = text.partition(" [" if "[" in text else " (")
    return Text.assemble(number, (f"\n{space[1:]}{rest}" if rest else "", "dim"))


def _folded(text: str, width: int) -> str:
    """Wrap a name such as relaxloss:alpha=0.5,upper=0.9 into lines of at most `width`, at the ends of its parts.

    Longer parts are wrapped at hyphens.
    """
    lines = [""]
    for part in re.split(r"(?<=[:,+])", text):
        for piece in re.split(r"(?<=-)", part) if len(part) > width else [part]:
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append(" ")
            lines[-1] += piece
    return "\n".join(lines)


def _flat(heading: str) -> str:
    return heading.replace("\n", " ")
