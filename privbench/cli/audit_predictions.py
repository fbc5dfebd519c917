"""`privbench audit predictions`: attacks on a model by its stored predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privbench.cli import shared
from privbench.cli.console import count_text, say, stdout, table, warn_problems
from privbench.cli.shell import command_line
from privbench.escapes import printable
from privbench.store.atomic import ensure_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privbench.external import Audited

EPILOG = """\b
Examples:
  privbench audit predictions answers.npz
  privbench audit predictions answers.csv
  privbench audit predictions answers.npz --attack lira --attack lira:mode=offline --top 20
\b
FILE is a .npz file (numpy.savez) with n examples and c classes:
  logits or probabilities (n, c), labels (n,), membership (n,): True for training examples
  optionally shadow_logits (s, n, c) and shadow_membership (s, n), of s shadow models trained alike
With q aligned queries per example the shapes are (n, q, c) and (s, n, q, c).
\b
Or a .csv, .tsv or .parquet table with the columns
  label, membership, and one per class, logits_0, logits_1, ... or probabilities_cat, ...
  optionally shadow_logits_0_cat (shadow model 0), ... and shadow_membership_0, ...
"""


@click.command(epilog=EPILOG, short_help="Attack a model by its stored predictions.")
@click.argument("file", type=click.Path(path_type=Path))
@shared.components("attack", "Attack, with options. Repeatable.  [default: all that the predictions support]", ("all",))
@shared.out("records, raw scores and the most exposed examples")
@shared.seed
@shared.top
@click.pass_context
def predictions(ctx: click.Context, file: Path, *, attack: Sequence[str], out: Path, seed: int, top: int) -> None:
    """Attack a model by its predictions in FILE, with every attack that they support.

    Nothing is trained. The results are those of `privbench run` with one target, in the same records.
    """
    from privbench.external import audit_predictions

    warn_problems()
    ensure_writable(out, "records")
    audited = audit_predictions(file, attack=attack, seed=seed, command=command("predictions", [file], attack, seed))
    columns = {
        "example": lambda row: str(row["index"]),
        "label": lambda row: str(row["label"]),
        "answer": lambda row: "right" if row["correct"] else "wrong",
    }
    show(audited, out, top, columns)
    if any(record.status == "failed" for record in audited):
        ctx.exit(1)


def command(name: str, places: Sequence[object], attack: Sequence[str], seed: int) -> str:
    """Return the command line that reproduces an audit."""
    words = ["privbench", "audit", name, *map(str, places)]
    words += [word for each in attack if each != "all" for word in ("--attack", each)]
    return command_line([*words, "--seed", str(seed)])


def show(audited: Audited, out: Path, top: int, columns: dict[str, Callable[[dict[str, object]], str]]) -> None:
    """Save an audit and print it: the leaderboard, skipped attacks, and the most exposed examples.

    columns: heading -> the text of one row of `exposed`, before its score

    Raises UsageError if the output cannot be written.
    """
    from privbench.records import leaderboard
    from privbench.report.tables import render

    for warning in audited.warnings:
        say(f"Warning: {warning}", err=True)
    audited.save(out)
    console = stdout()
    inside = int(audited.member.sum())
    sizes = f"{count_text(inside, 'member')}, {count_text(len(audited.member) - inside, 'non-member')}"
    tables = [leaderboard.cells(audited)] if len(audited) > 1 else []
    for each in (*tables, leaderboard.frame(audited)):
        each["setting"] = f"{sizes}, seed {audited[0].seed}; 95 % intervals"
        console.print(render(each, folders=[out]))
    for note in audited.notes:
        console.print(printable(note))
    for lacking in dict.fromkeys(audited.left_out.values()):
        names = [name for name, reason in audited.left_out.items() if reason == lacking]
        console.print(f"skipped: {', '.join(names)} {'needs' if len(names) == 1 else 'need'} {lacking}")
    best = audited.strongest
    if best is not None and top:
        _show_exposed(audited, best.attack.spec, min(top, len(audited.exposed)), columns)
    say(f"Records, raw scores and a list of all members by exposure are in {out}.", err=True)


def _show_exposed(
    audited: Audited, attack: str, top: int, columns: dict[str, Callable[[dict[str, object]], str]]
) -> None:
    console = stdout()
    right = ("example", "score", "non-members as high", "empirical FPR")
    shown = table(console, *columns, *right[1:], right=right, wrap=right[2:])
    others = int((~audited.member).sum())
    for row in audited.exposed.head(top).to_dict("records"):
        texts = [text(row) for text in columns.values()]
        as_high = row["nonmembers_as_high"]
        shown.add_row(*texts, f"{row['score']:.4g}", f"{as_high} of {others}", f"{100 * row['fpr']:.1f} %")
    console.print()
    console.print(f"The {top} most exposed members, by the scores of {attack}:")
    console.print(shown)
    console.print(_ties(audited, top), end="")


def _ties(audited: Audited, top: int) -> str:
    """Return a line about equal scores, whose order is arbitrary: of all shown examples, or at the end of the list."""
    scores = audited.exposed["score"]
    last = scores == scores.iloc[top - 1]
    shown, hidden = int(last.head(top).sum()), int(last.iloc[top:].sum())
    if not hidden:
        return f"All {top} have the same score.\n" if shown == top > 1 else ""
    which = "All" if shown == top else "The last"
    return f"{which} {shown} have the same score as {hidden} members not shown: none of them stands out.\n"
