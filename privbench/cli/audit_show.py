"""`privbench audit show`: results of earlier audits."""

from __future__ import annotations

from pathlib import Path

import click

from privbench.cli import shared
from privbench.cli.console import LeftOut, stdout
from privbench.errors import UnknownName

RESULTS = Path(shared.RESULTS)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["text", "md"]), default="text", show_default=True, help="Text, or Markdown."
)
def show(paths: tuple[Path, ...], *, form: str) -> None:
    """Show the records of earlier audits.

    PATHS are records or folders of records.  [default: ./privbench-results]
    """
    from privbench.records.audit_record import load
    from privbench.report.audits import markdown, render

    places = paths or (RESULTS,)
    left_out = LeftOut()
    records = load(places, left_out)
    if not records and not left_out.any:
        raise UnknownName(f"No audits in {', '.join(map(str, places))}. `privbench audit NAME` writes them.")
    for record in records:
        if form == "md":
            click.echo(markdown(record))
        else:
            stdout().print(render(record))
    left_out.conclude()
