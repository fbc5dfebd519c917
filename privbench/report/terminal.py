"""Leaderboard in a terminal: the most detailed layout that fits the width.

First every number is on one line with its interval. If that is too wide, the interval moves below the number, and the
threat models below the table; then columns are omitted, the least important first, and named.
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
"""What goes first where there is no room for all; test accuracy, a defense's utility, and what ranks always stay."""

FOLDS = (32, 20, 14)
"""Widths at which long names of defenses and attacks are broken, after a ':', ',' or '+'."""

UNLIMITED = 100_000
FAINT = frozenset({"n/a", "failed", "-"})


@dataclass(frozen=True)
class Block:
    """The rows of one setting, under headings that share their keys."""

    title: str
    caption: str
    headings: Mapping[str, str]
    rows: Sequence[Mapping[str, str]]
    notes: Sequence[str]
    explain: Callable[[Iterable[str]], list[str]]
    """Returns notes on the texts that cells hold."""
    export: str
    """The command that shows all columns."""
    keep: str = ""
    """The column that ranks, which is never left out."""
    dispensable: Sequence[str] = DISPENSABLE

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, table and notes."""
        room = options.update(width=UNLIMITED)
        layouts = list(self._layouts())
        fits = (each for each in layouts if console.measure(each[1], options=room).maximum <= options.max_width)
        names, table = next(fits, layouts[-1])  # of none that fits, the narrowest, whose cells are folded
        yield Text(self.title, style="bold")
        yield Text(self.caption, style="dim")
        yield table
        if "threat-model" in self.headings and "threat-model" not in names:
            yield from map(Text, self._threats())
        yield from map(Text, self.notes)
        texts = {row[name] for row in self.rows for name in names}
        yield from map(Text, self.explain(texts))
        gone = [_flat(heading) for name, heading in self.headings.items() if name not in (*names, "threat-model")]
        if gone:
            yield Text(f"Left out for lack of room: {', '.join(gone)}. All: {self.export}", style="dim")

    def _layouts(self) -> Iterator[tuple[Sequence[str], Table]]:
        """Yield the columns of ever narrower tables, and the tables."""
        names = list(self.headings)
        yield tuple(names), self._table(names, fold=None)
        if "threat-model" in names:
            names.remove("threat-model")
        for gone in (None, *self.dispensable):
            if gone in names and gone != self.keep:
                names.remove(gone)
            for fold in FOLDS:
                yield tuple(names), self._table(names, fold=fold)

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
        """Yield what the attacks see, those that see the same together."""
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
    """Break a name such as relaxloss:alpha=0.5,upper=0.9 into lines no longer than `width`, where its parts end.

    A part that is longer is broken at hyphens.
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
