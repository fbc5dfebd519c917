"""`privbench leaderboard`: the records of earlier runs, as a table to read or to publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from privbench.cli import console as out
from privbench.cli import shared
from privbench.errors import UnknownName, UsageError
from privbench.leaderboard import RANKINGS
from privbench.report.tables import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

F = TypeVar("F", bound="Callable[..., None]")

RESULTS = Path(shared.RESULTS)
COMMITTED = Path("leaderboards")
EPILOG = """\b
Examples:
  privbench leaderboard show
  privbench leaderboard show leaderboards/ --rank-by auc
  privbench leaderboard export --format latex -o table.tex
  privbench leaderboard export --format csv --cells > grid.csv
"""


def _selection(command: F) -> F:
    """Add what both commands take."""
    for decorate in (
        click.option("--cells", is_flag=True, help="Every attack on every defense, instead of the strongest of each."),
        click.option(
            "--rank-by",
            type=click.Choice(list(RANKINGS)),
            default=next(iter(RANKINGS)),
            show_default=True,
            help="What makes an attack the strongest, and a defense worse.",
        ),
        click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


@click.group(epilog=EPILOG)
def leaderboard() -> None:
    """Show or export the records of earlier runs: each defense ranked by its strongest attack, utility beside it."""


@leaderboard.command()
@_selection
def show(paths: tuple[Path, ...], *, rank_by: str, cells: bool) -> None:
    """Show records as a table.

    PATHS are records or folders of them: ./privbench-results and ./leaderboards, as far as they exist, by default.
    """
    from privbench.report.tables import render

    for table in _tables(paths, rank_by, cells=cells):
        if not table.empty:
            out.stdout().print(render(table))


@leaderboard.command(short_help="Export records as Markdown, CSV, JSON or LaTeX.")
@_selection
@click.option("--format", "form", type=click.Choice(FORMATS), default="md", show_default=True, help="Of the output.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here, not to stdout.")
def export(paths: tuple[Path, ...], *, rank_by: str, cells: bool, form: str, output: Path | None) -> None:
    """Export the table: Markdown and LaTeX to read, CSV and JSON with plain numbers.

    PATHS are as for `show`.
    """
    from privbench.report import tables

    text = tables.export_both(*_tables(paths, rank_by, cells=cells), form)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write {output}: {error.strerror or error}.") from None
    click.echo(f"Wrote {output}.", err=True)


def _tables(paths: tuple[Path, ...], rank_by: str, *, cells: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what membership attacks found, and what reconstruction attacks did."""
    from privbench import leaderboard as rankings
    from privbench.record import load

    places = paths or _default_paths()
    records = load(places)
    if not records:
        raise UnknownName(f"No records in {', '.join(map(str, places))}. `privbench run` writes them.")
    table = rankings.cells(records) if cells else rankings.frame(records, rank_by=rank_by)
    return table, rankings.reconstructions(records)


def _default_paths() -> list[Path]:
    found = [path for path in (RESULTS, COMMITTED) if path.exists()]
    if not found:
        raise UnknownName(
            f"No records here: neither {RESULTS} nor {COMMITTED} exists. Run `privbench run`, or name the folder."
        )
    return found
