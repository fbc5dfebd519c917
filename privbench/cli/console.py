"""Common parts of the commands: console, tables, warnings, completion, and names of components."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any, TextIO

import click

from privbench.errors import UnknownName, UsageError, did_you_mean, one_line
from privbench.escapes import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from click.shell_completion import CompletionItem
    from rich.console import Console
    from rich.table import Table

    from privbench.errors import InvalidRecord

KINDS = ("task", "defense", "attack", "audit")
PLURALS = {"tasks": "task", "defenses": "defense", "attacks": "attack", "audits": "audit"}
PARAGRAPH = 100
UNLIMITED = 10_000
USUAL, NARROWEST = 80, 40


def say(text: str, *, err: bool = False) -> None:
    """Print a sentence on one line, with hidden characters as escapes."""
    click.echo(printable(text), err=err)


def stdout() -> Console:
    """Return a console on stdout. In a pipe it is plain, and each row of a table is one line."""
    from privbench.cli.safe_console import SafeConsole

    return SafeConsole(width=width(sys.stdout))


def width(stream: TextIO | None) -> int:
    """Return the columns of an output stream: those of COLUMNS or of the terminal, if known.

    Systems report an unknown width as 0 or as a non-number. Tables need at least NARROWEST.
    """
    named = os.environ.get("COLUMNS", "")
    columns = int(named) if named.isdecimal() else 0
    if not columns and (stream is None or not stream.isatty()):
        return UNLIMITED
    with contextlib.suppress(OSError, ValueError):  # a terminal of unknown size
        columns = columns or (os.get_terminal_size(stream.fileno()).columns if stream else 0)
    return min(max(NARROWEST, columns or USUAL), UNLIMITED)


def table(console: Console, *columns: str, right: Sequence[str] = (), wrap: Sequence[str] = ()) -> Table:
    """Return an empty table in the house style; `right` columns are right-aligned, and only `wrap` columns wrap."""
    from rich import box
    from rich.table import Table

    lined = console.width < UNLIMITED
    made = Table(
        box=box.SIMPLE_HEAD if lined else None, pad_edge=False, show_edge=False, header_style="bold" if lined else ""
    )
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name not in wrap,
            overflow="fold" if name in wrap else "ellipsis",
        )
    return made


def paragraphs(console: Console, text: str) -> str:
    """Return text with its paragraphs filled to the console; indented or aligned text is unchanged."""
    width = min(console.width, PARAGRAPH)
    parts = []
    for part in re.split(r"\n(?:[ \t]*\n)+", text.strip()):
        kept = any(line.startswith((" ", "- ")) or "   " in line for line in part.splitlines())
        parts.append(part if kept else textwrap.fill(" ".join(part.split()), width))
    return "\n\n".join(parts)


def warn_problems() -> None:
    """Print one line on stderr for each skipped plugin, or part of one."""
    from privbench.plugins.loading import catalogue

    for problem in catalogue().problems:
        say(f"Warning: plugin {problem.plugin!r}: {problem.reason}", err=True)


class LeftOut:
    """Names each record that is left out, on stderr."""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, invalid: InvalidRecord) -> None:
        """Name one, with the reason."""
        self.any = True
        say(f"Error: {one_line(invalid)} It is left out.", err=True)

    def conclude(self) -> None:
        """End the command with exit code 1 if a record was left out."""
        if self.any:
            click.get_current_context().exit(1)


def kind_of(word: str) -> str | None:
    """Return the kind named by a word, in singular or plural, or None."""
    return word if word in KINDS else PLURALS.get(word)


def find(text: str, also: Iterable[str] = ()) -> tuple[str, str]:
    """Return (kind, rest) for "lira", "attack:lira" or "relaxloss:alpha=2".

    Raises UnknownName, with the closest name of any kind or word of `also`, and UsageError if two kinds share a name.
    """
    from privbench.plugins.loading import catalogue

    head, _, rest = text.partition(":")
    kind = kind_of(head)
    if kind and rest and "=" not in rest.partition(":")[0]:
        return kind, rest
    found = catalogue()
    name = re.split(r"[:+]", text.strip(), maxsplit=1)[0]
    known = [*found.components, *found.clashes]
    kinds = [kind for kind in KINDS if (kind, name) in known]
    if not kinds:
        hint = did_you_mean(name, {*also, *(name for _, name in known)})
        raise UnknownName(f"No task, defense, attack or audit named {name!r}.{hint} `privbench list` shows all names.")
    if len(kinds) > 1:
        choices = " or ".join(f"{kind}:{text}" for kind in kinds)
        raise UsageError(f"{name!r} is the name of several components; choose one: {choices}.")
    return kinds[0], text


def complete_components(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return a `shell_complete` function for the names of one kind of component, and "all"."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [item for item in (*_items(kind), _item("all", "all installed ones")) if _starts(item, incomplete)]

    return complete


def complete_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a component of any kind."""
    return [item for kind in KINDS for item in _items(kind) if _starts(item, incomplete)]


def summary(cls: type) -> str:
    """Return the first line of a component's docstring, without its full stop."""
    return printable((cls.__doc__ or "").strip().partition("\n")[0].rstrip("."))


def size_text(size: float) -> str:
    """Return bytes in readable units: "1.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - SI prefixes
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count_text(count: int, noun: str) -> str:
    """Return "1 model" or "2 models"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _items(kind: str) -> list[CompletionItem]:
    from privbench.plugins.loading import catalogue

    return [_item(name, summary(entry.cls)) for name, entry in catalogue().of(kind).items()]


def _item(value: Any, text: str) -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(value, help=text)


def _starts(item: CompletionItem, incomplete: str) -> bool:
    return str(item.value).startswith(incomplete)
