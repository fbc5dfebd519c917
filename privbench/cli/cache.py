"""`privbench cache`: contents, verification and pruning of the store."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from privbench.cli import console as out
from privbench.errors import BadOption, UnknownName, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from privbench.store.artifact import Artifact
    from privbench.store.store import Store

EPILOG = """\b
Examples:
  privbench cache list
  privbench cache verify
  privbench cache prune --older-than 30d --dry-run
  privbench cache prune --task digits --defense relaxloss --yes
"""
BAD = 1
DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1, "w": 7}
CENTURY = 36525


def _age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dt.timedelta | None:
    """Parse 30d, 12h, 2w or 90m."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", value.strip().lower())
    days = float(match[1]) * DAYS[match[2]] if match else CENTURY
    if days >= CENTURY:
        raise BadOption(f"--older-than {value}: write an age such as 30d, 12h, 2w or 90m.")
    return dt.timedelta(days=days)


store_option = click.option(
    "--store", "root", type=click.Path(path_type=Path), help="Folder of the store, if it is not the default one."
)


@click.group(epilog=EPILOG)
def cache() -> None:
    """Manage the store, which keeps every trained model and its answers, so that nothing is computed twice.

    Pruning never changes a result: missing artifacts are recomputed, on the same machine to the same bits.
    """


class Row(NamedTuple):
    """The owner of an artifact, from its manifest."""

    task: str
    defense: str
    kind: str


@cache.command("list", short_help="Show the contents of the store.")
@store_option
@click.option("--long", is_flag=True, help="One line per artifact.")
def list_(root: Path | None, *, long: bool) -> None:
    """Show the contents of the store: per task, defense and kind, or with --long per artifact."""
    store = _open(root)
    artifacts = sorted(store.artifacts(), key=_order) if store else []
    if not artifacts:
        out.say(f"Nothing is cached in {_root(root)} yet.")
        return
    console = out.stdout()
    console.print(_each(console, artifacts) if long else _grouped(console, artifacts))
    console.print(f"{_total(artifacts)} in {_root(root)}", style="dim", soft_wrap=True)


def _each(console: Console, artifacts: Iterable[Artifact]) -> Table:
    columns = ("task", "defense", "kind", "index", "size", "made", "key")
    rows = out.table(console, *columns, right=["index", "size"], wrap=["task", "defense"])
    for artifact in artifacts:
        index = str(artifact.manifest.get("index", "-"))
        rows.add_row(*_row(artifact), index, out.size_text(artifact.size), _ago(artifact.created), artifact.key[:8])
    return rows


def _grouped(console: Console, found: Iterable[Artifact]) -> Table:
    columns = ("task", "defense", "kind", "count", "size", "newest")
    rows = out.table(console, *columns, right=["count", "size"], wrap=["task", "defense"])
    for row, artifacts in itertools.groupby(found, key=_row):
        group = list(artifacts)
        newest = _ago(max(artifact.created for artifact in group))
        rows.add_row(*row, str(len(group)), out.size_text(sum(artifact.size for artifact in group)), newest)
    return rows


@cache.command(short_help="Verify the checksum of every artifact.")
@store_option
@click.pass_context
def verify(ctx: click.Context, root: Path | None) -> None:
    """Verify the checksum of every artifact: one line for each that is damaged, and exit code 1."""
    store = _open(root)
    checked = bad = 0
    for _, problem in store.verify() if store else ():
        checked += 1
        if problem:
            bad += 1
            out.say(problem)
    out.say(f"{out.count_text(checked, 'artifact')} checked, {bad or 'none'} damaged.")
    if bad:
        out.say("`privbench run` recomputes damaged artifacts automatically when it needs them.", err=True)
        ctx.exit(BAD)


@cache.command()
@store_option
@click.option("--older-than", callback=_age, metavar="AGE", help="Only artifacts older than 30d, 12h, 2w, 90m.")
@click.option(
    "--task", "tasks", multiple=True, help="Only artifacts of this task, with or without its options.  [repeatable]"
)
@click.option("--defense", "defenses", multiple=True, help="Only artifacts of this defense.  [repeatable]")
@click.option("--kind", "kinds", multiple=True, help="Only of this kind, as shown by `cache list`.  [repeatable]")
@click.option("--all", "everything", is_flag=True, help="All artifacts.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(
    root: Path | None,
    older_than: dt.timedelta | None,
    tasks: tuple[str, ...],
    defenses: tuple[str, ...],
    kinds: tuple[str, ...],
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove the artifacts that match all given filters, after a confirmation."""
    if not (older_than or tasks or defenses or kinds or everything):
        raise UsageError("Give a filter for what to remove: --older-than, --task, --defense, --kind, or --all.")
    store = _open(root)
    artifacts = list(store.artifacts()) if store else []
    _check_names(artifacts, tasks, defenses, kinds)
    keep = _filter(older_than, tasks, defenses, kinds)
    chosen = [artifact for artifact in artifacts if keep(artifact)]
    if not store or not chosen:
        out.say(f"Nothing to remove: none of {_total(artifacts)} in {_root(root)} matches.")
        return
    if dry_run:
        out.say(f"Would remove {_total(chosen)}, of {_total(artifacts)}.")
        return
    if not yes:
        click.confirm(f"Remove {_total(chosen)}, of {_total(artifacts)}?", abort=True)
    for artifact in chosen:
        store.remove(artifact)
    freed = sum(artifact.size for artifact in chosen) + store.sweep(quarantine=everything)
    out.say(f"Removed {out.count_text(len(chosen), 'artifact')}; freed {out.size_text(freed)}.")


def _check_names(
    artifacts: Sequence[Artifact], tasks: Iterable[str], defenses: Iterable[str], kinds: Iterable[str]
) -> None:
    """Raise UnknownName for a filter that matches nothing in the store, and no component."""
    from privbench.plugins.loading import catalogue

    rows = [_row(artifact) for artifact in artifacts]
    stored = {
        "task": {name for row in rows for name in (row.task, _bare(row.task))},
        "defense": {name for row in rows for name in (row.defense, _bare(row.defense))},
        "kind": {artifact.kind for artifact in artifacts},
    }
    for kind, texts in (("task", tasks), ("defense", defenses), ("kind", kinds)):
        known = {*stored[kind], *(catalogue().of(kind) if kind != "kind" else {"model", "answers", "kept"})}
        for text in texts:
            if text not in known and not all(part in known for part in _bare(text).split("+")):
                hint = did_you_mean(_bare(text), known)
                raise UnknownName(f"No {kind} {text!r} in the store.{hint} `privbench cache list` shows its contents.")


def _bare(spec: str) -> str:
    """Return a spec without its options."""
    return re.sub(r":[^+]*", "", spec)


def _filter(
    older_than: dt.timedelta | None, tasks: Iterable[str], defenses: Iterable[str], kinds: Iterable[str]
) -> Callable[[Artifact], bool]:
    limit = None if older_than is None else now() - older_than

    def chosen(artifact: Artifact) -> bool:
        task, defense, _ = _row(artifact)
        return (
            (limit is None or artifact.created < limit)
            and (not tasks or any(_named(task, text) for text in tasks))
            and (not defenses or any(_named(defense, text) for text in defenses))
            and (not kinds or artifact.kind in kinds)
        )

    return chosen


def _named(spec: str, text: str) -> bool:
    """Whether "digits" or "digits:limit=100" matches a spec: the whole spec, or its name alone."""
    return text in {spec, _bare(spec)}


def _root(root: Path | None) -> Path:
    from privbench.store.reading import home
    from privbench.store.store import default_root

    return home(root) if root else default_root()


def _open(root: Path | None) -> Store | None:
    """Open an existing store; None if there is none yet. Raises UnknownName for a wrong --store."""
    from privbench.store.reading import is_folder
    from privbench.store.store import Store

    if is_folder(_root(root)):
        return Store(_root(root))
    if root:
        raise UnknownName(f"No store at {root}: no such folder. Without --store the default is {_root(None)}.")
    return None


def _row(artifact: Artifact) -> Row:
    name = _spec(artifact, "name")  # of intermediate results, which may belong to several defenses
    kind = artifact.kind if name == "-" else f"{artifact.kind} {name}"
    return Row(_spec(artifact, "task"), _spec(artifact, "defense"), kind)


def _order(artifact: Artifact) -> tuple[str, str, str, int]:
    index = artifact.manifest.get("index")
    return (*_row(artifact), index if isinstance(index, int) else -1)


def _spec(artifact: Artifact, part: str) -> str:
    """Return the spec of a part in the manifest; "-" without one."""
    value = artifact.manifest.get(part)
    if isinstance(value, dict):
        value = value.get("spec") or value.get("name")
    return value if isinstance(value, str) and value else "-"


def _total(artifacts: Iterable[Artifact]) -> str:
    sizes = [artifact.size for artifact in artifacts]
    return f"{out.count_text(len(sizes), 'artifact')} ({out.size_text(sum(sizes))})"


def now() -> dt.datetime:
    """Return the time."""
    return dt.datetime.now(dt.timezone.utc)


def _ago(moment: dt.datetime) -> str:
    seconds = max(0.0, (now() - moment).total_seconds())
    for span, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= span:
            return f"{out.count_text(int(seconds // span), unit)} ago"
    return "just now"
