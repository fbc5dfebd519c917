"""`privbench gallery`: reconstructed images from the models of each defense, next to real images."""

from __future__ import annotations

from pathlib import Path

import click

from privbench.cli.console import LeftOut, say
from privbench.errors import UnknownName, UsageError

EPILOG = """\b
Examples:
  privbench run --defense ce --defense relaxloss --attack inversion
  privbench gallery privbench-results
  privbench gallery privbench-results/digits --classes 0,3,8 --target 1 --output digits.png
"""


@click.command(epilog=EPILOG)
@click.argument("paths", metavar="RESULTS...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    default="inversion.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Image file to write.",
)
@click.option("--classes", metavar="N,N,...", help="Classes, one column each.  [default: the first ten]")
@click.option("--target", default=0, show_default=True, help="Index of the target.")
def gallery(paths: tuple[Path, ...], *, output: Path, classes: str | None, target: int) -> None:
    """Draw reconstructed images into an image file: a row per defense, a column per class.

    RESULTS are records of reconstruction attacks, or folders of them, all with the same setting, and with their raw
    arrays. The first row shows members; the third, below the undefended model, the members nearest to its images.
    Nothing is trained.
    """
    from privbench.records.comparable import latest, title
    from privbench.records.record import located
    from privbench.report import gallery as drawing

    left_out = LeftOut()
    found = located(paths, left_out)
    files = {id(record): file for file, record in found}
    records = latest(record for _, record in found if record.reconstruction is not None)
    if not records:
        left_out.conclude()
        raise UnknownName(
            f"No reconstructed images in {', '.join(map(str, paths))}. `privbench run --attack inversion` makes them."
        )
    arrays = drawing.load(records, [files[id(record)] for record in records])
    columns = _chosen(classes, records[0].data.classes)
    rows = drawing.rows(records, arrays, columns, target)
    shown = ", ".join(map(str, columns))
    heading = f"{title(records[0])}: {records[0].attack.name} of model {target}, classes {shown}"
    picture = drawing.draw(rows, across=1, side=drawing.LARGE, heading=heading)
    try:
        picture.save(output)
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot write {output}: {error}.") from None
    say(f"{output} shows {len(rows)} rows.", err=True)
    left_out.conclude()


def _chosen(text: str | None, classes: int) -> list[int]:
    if text is None:
        return list(range(min(10, classes)))
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) < classes for word in words):
        raise UsageError(f"--classes {text}: give numbers from 0 to {classes - 1}, separated by commas.")
    return [int(word) for word in words]
