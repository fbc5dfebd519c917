"""`privbench leaderboard`: records of earlier runs as a table."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from privbench.cli import console as out
from privbench.cli import shared
from privbench.errors import UnknownName, UsageError
from privbench.records.ranking import RANKINGS
from privbench.report.tables import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from privbench.records.submissions import Board

F = TypeVar("F", bound="Callable[..., None]")

RESULTS = Path(shared.RESULTS)
COMMITTED = Path("leaderboards")
DEFAULT = next(iter(RANKINGS))
SAID = 3
"""Number of files of one kind that are named individually."""
EPILOG = """\b
Examples:
  privbench leaderboard show
  privbench leaderboard show leaderboards/ --rank-by auc
  privbench leaderboard show results --attacks lira,rmia
  privbench leaderboard export --format latex --columns defense,attack,tpr@1%,test-accuracy -o table.tex
  privbench leaderboard export --format csv --cells > grid.csv
"""


def _selection(command: F) -> F:
    """Add the options of both commands."""
    for decorate in (
        click.option("--cells", is_flag=True, help="Show every attack on every defense, not only the strongest."),
        click.option(
            "--rank-by",
            type=click.Choice(list(RANKINGS)),
            help=f"Ranking column.  [default: the board's, else {DEFAULT}]",
        ),
        click.option(
            "--attacks",
            multiple=True,
            metavar="NAMES",
            help="Attacks over which rows are ranked: lira,rmia.  [default: the board's, else those of all rows]",
        ),
        click.option(
            "--columns", multiple=True, metavar="NAMES", help="Columns: defense,attack,tpr@1%.  [default: all]"
        ),
        click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True)
class _Shown:
    """The data shown by both commands."""

    places: Sequence[Path]
    tables: Sequence[pd.DataFrame]
    columns: Sequence[str]
    left_out: out.LeftOut


@click.group(epilog=EPILOG)
def leaderboard() -> None:
    """Show or export the records of earlier runs: each defense ranked by its strongest attack, with its utility."""


@leaderboard.command()
@_selection
def show(**options: Any) -> None:
    """Show records as a table.

    PATHS are records or folders of them; by default ./privbench-results and ./leaderboards, if they exist. A file
    board.toml in a folder declares its attacks, title and ranking.
    """
    from privbench.report.tables import render

    shown = _read(**options)
    for table in shown.tables:
        out.stdout().print(render(table, folders=shown.places, columns=shown.columns))
    shown.left_out.conclude()


@leaderboard.command(short_help="Export records as Markdown, CSV, JSON or LaTeX.")
@_selection
@click.option("--format", "form", type=click.Choice(FORMATS), default="md", show_default=True, help="Output format.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to this file instead of stdout."
)
def export(form: str, output: Path | None, **options: Any) -> None:
    """Export the table: as Markdown or LaTeX, or as CSV or JSON with unformatted numbers.

    PATHS are as for `show`.
    """
    from privbench.report import tables

    shown = _read(**options)
    text = tables.export_all(shown.tables, form, shown.columns)
    if output is None:
        click.echo(text, nl=False)
        shown.left_out.conclude()
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write {output}: {error.strerror or error}.") from None
    out.say(f"Wrote {output}.", err=True)
    shown.left_out.conclude()


def _read(
    *, paths: tuple[Path, ...], rank_by: str | None, attacks: tuple[str, ...], columns: tuple[str, ...], cells: bool
) -> _Shown:
    """Return the results of membership attacks, and of reconstruction attacks, board by board."""
    from privbench.records import leaderboard as rankings
    from privbench.records.submissions import boards, named
    from privbench.report.columns import check

    chosen = [name.strip() for text in columns for name in text.split(",") if name.strip()]
    check(chosen)
    places = paths or _default_paths()
    left_out = out.LeftOut()
    _collect_no_garbage()
    found = boards(places, named(attacks) if attacks else None, left_out)
    if not found:
        left_out.conclude()
        raise UnknownName(f"No records in {', '.join(map(str, places))}. `privbench run` writes them.")
    if not paths:
        out.say(f"Records of {' and '.join(map(str, places))}.", err=True)
    tables = []
    for board in found:
        _warn(board)
        by = rank_by or board.rank_by or DEFAULT
        about = {"heading": board.title}
        ranked = rankings.frame(board.records, rank_by=by, attacks=board.attacks, **about)
        tables += [rankings.cells(board.records, **about) if cells else ranked]
        tables += [rankings.reconstructions(board.records, **about)]
    return _Shown(places, [table for table in tables if not table.empty], chosen, left_out)


def _collect_no_garbage() -> None:
    """Collect none until the command ends: looking for cycles in thousands of records takes a third of its time."""
    if gc.isenabled():
        gc.disable()
        click.get_current_context().call_on_close(gc.enable)


def _warn(board: Board) -> None:
    """Report records that do not count, and records that cannot be compared."""
    from privbench.records.leaderboard import apart

    for newer, older in board.replaced[:SAID]:
        out.say(f"Warning: {newer} replaces {older}, an older record of the same cell.", err=True)
    if len(board.replaced) > SAID:
        out.say(f"Warning: the same for {len(board.replaced) - SAID} other files.", err=True)
    for task, difference in apart(board.records):
        out.say(f"Warning: records of {task} are ranked separately, because they differ in {difference}.", err=True)


def _default_paths() -> list[Path]:
    found = [path for path in (RESULTS, COMMITTED) if path.exists()]
    if not found:
        raise UnknownName(
            f"No records here: neither {RESULTS} nor {COMMITTED} exists. Run `privbench run`, or give the folder."
        )
    return found
