"""`privbench audit dataset`: membership attacks on a synthetic data set made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privbench.cli import shared
from privbench.cli.audit_predictions import command, show
from privbench.cli.console import stdout, warn_problems
from privbench.escapes import printable
from privbench.store.atomic import ensure_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


EPILOG = """\b
Examples:
  privbench audit dataset real.npz synthetic.npz --holdout holdout.npz
  privbench audit dataset real.csv made.csv --holdout other.csv --label sex
  privbench audit dataset photos/ made/ --holdout others/ -a gan-leaks
\b
REAL is the training set of the generator, SYNTHETIC its output, HOLDOUT real
examples that it never saw. Each is a .npz file with x (n, height, width
[, channels]) or (n, features) and optionally y (n,), a .npy file of x alone,
a table (.csv, .tsv, .parquet), whose columns are matched by name, or a folder
of images.
"""


@click.command(epilog=EPILOG, short_help="Attack a synthetic data set made elsewhere.")
@click.argument("real", type=click.Path(path_type=Path))
@click.argument("synthetic", type=click.Path(path_type=Path))
@click.option(
    "--holdout",
    type=click.Path(path_type=Path),
    required=True,
    metavar="HOLDOUT",
    help="Real examples that the generator never saw: half are non-members, half reference examples.",
)
@click.option("--label", metavar="COLUMN", help="With tables: the column of labels, which is not a feature.")
@shared.components(
    "attack", "Attack, with options. Repeatable.  [default: all that a synthetic set supports]", ("all",)
)
@shared.out("records, raw scores, exposed examples and the page of nearest pairs")
@shared.seed
@shared.top
@click.pass_context
def dataset(
    ctx: click.Context,
    real: Path,
    synthetic: Path,
    *,
    holdout: Path,
    label: str | None,
    attack: Sequence[str],
    out: Path,
    seed: int,
    top: int,
) -> None:
    """Attack a synthetic data set: what it reveals about the real examples that it was generated from.

    Nothing is trained, except by attacks. The results are records like those of `privbench run`.
    """
    from privbench.external import audit_dataset
    from privbench.report.audits import render

    warn_problems()
    ensure_writable(out, "records")
    places = [real, synthetic, "--holdout", holdout, *([] if label is None else ["--label", label])]
    words = command("dataset", places, attack, seed)
    audited = audit_dataset(
        real, synthetic, holdout, attack=attack, label=label, seed=seed, name=printable(synthetic.stem), command=words
    )
    columns: dict[str, Callable[[dict[str, object]], str]] = {"real": lambda row: str(row["index"])}
    if audited.exposed["label"].notna().any():
        columns["label"] = lambda row: str(row["label"])
    columns["nearest"] = lambda row: str(row["nearest"])
    columns["distance"] = lambda row: f"{row['distance']:.2g}"
    show(audited, out, top, columns)
    console = stdout()
    for each in audited.audits:
        console.print()
        console.print(render(each))
    if any(record.status == "failed" for record in audited):
        ctx.exit(1)
