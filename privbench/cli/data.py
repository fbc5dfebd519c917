"""`privbench data`: available data sets, download of public ones, and import of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from privbench.cli import console as out
from privbench.errors import DataError, UnknownName, did_you_mean

if TYPE_CHECKING:
    from privbench.builtin.tasks.base import DataTask
    from privbench.builtin.tasks.downloads import DownloadedTask

EPILOG = """\b
Examples:
  privbench data list
  privbench data fetch cifar10 cifar100
  privbench data import faces/ --size 32
  privbench data import patients.csv --label outcome --name patients
"""

SHOWN = 10
"""Number of class names shown after an import."""

root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the data sets, if it is neither $PRIVBENCH_DATA nor the default.",
)


@click.group(epilog=EPILOG)
def data() -> None:
    """List data sets, fetch public ones, and import your own.

    A run never downloads anything: `fetch` is the only command that does.
    """


@data.command("list")
@root_option
def list_(root: Path | None) -> None:
    """Show every data set: whether it is available, how to get it, and its size."""
    from privbench.builtin.tasks.downloads import DownloadedTask
    from privbench.builtin.tasks.npz import Npz
    from privbench.data.imported import IMPORTED, data_root
    from privbench.store.reading import guarded, is_file

    with guarded("The folder of the data sets is unknown", "write it without ~"):
        root_given, root = root, data_root(root)
    console = out.stdout()
    rows = out.table(console, "data set", "state", "size", "where", wrap=["where"])
    for name, cls in _tasks().items():
        if issubclass(cls, Npz):
            continue
        if not issubclass(cls, DownloadedTask):
            rows.add_row(name, "ready", "", "included in the dependencies of privbench")
        elif not cls.missing(root):
            rows.add_row(name, "ready", cls.size, str(root))
        else:
            option = f" --root {root_given}" if root_given else ""
            how = cls.by_hand.format(root=root) if cls.by_hand else f"privbench data fetch {name}{option}"
            rows.add_row(name, "absent", cls.size, how)
    for path in sorted((root / IMPORTED).glob("*.npz")):
        if is_file(path):
            rows.add_row(f"npz:path={path.stem}", "imported", out.size_text(path.stat().st_size), str(path))
    console.print(rows)
    console.print("Your own arrays, tables and images: privbench data import PATH", style="dim")


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@root_option
def fetch(names: tuple[str, ...], root: Path | None) -> None:
    """Download data sets and verify their checksums, in the layout of torchvision."""
    from privbench.builtin.tasks.downloads import DownloadedTask
    from privbench.data.imported import data_root

    known = {name: cls for name, cls in _tasks().items() if issubclass(cls, DownloadedTask)}
    tasks = _tasks()
    for name in names:  # all names first: a typo must not be found after an hour of downloads
        if name in tasks and name not in known:
            raise UnknownName(f"{name!r} needs no download: {_no_download(name)}")
        if name not in known:
            raise UnknownName(f"No data set {name!r}.{did_you_mean(name, known)} Available: {', '.join(known)}.")
    folder = data_root(root)
    for name in names:
        if known[name].by_hand and known[name].missing(folder):
            known[name].fetch(folder)
    for name in names:
        if _is_sound(known[name](root=str(folder))):
            out.say(f"{name} is already in {folder}.")
        else:
            known[name].fetch(folder)
            out.say(f"{name} is in {folder}. Use it with: --task {name}")


@data.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the data set (default: the name of the file or folder).")
@click.option("--label", help="For a table: the column of the classes.")
@click.option("--size", type=click.IntRange(min=4), help="For a folder: resize images to SIZE x SIZE pixels.")
@root_option
def import_(path: Path, name: str | None, label: str | None, size: int | None, root: Path | None) -> None:
    """Check your data, number their classes, and store them as a .npz file.

    PATH is a .npz file, a table (.csv, .tsv or .parquet) with a column of classes, or a folder of images with one
    subfolder per class (or train/ and test/, each with one subfolder per class).
    """
    from privbench.external.imports import import_data

    made = import_data(path, name=name, label=label, size=size, root=root)
    dataset = made.dataset
    counts = ", ".join(f"{role} {len(dataset.rows(role)):,}" for role in ("pool", "reference", "validation", "test"))
    out.say(f"{made.path}: {len(dataset.examples):,} examples of shape {dataset.shape}, {dataset.classes} classes")
    shown = ", ".join(made.labels[:SHOWN]) + (f" and {len(made.labels) - SHOWN} more" if made.labels[SHOWN:] else "")
    out.say(f"classes, from 0: {shown}")
    out.say(f"roles: {counts}")
    for note in made.notes:
        out.say(f"Note: {note}")
    for warning in made.warnings:
        out.say(f"Warning: {warning}", err=True)
    if made.duplicates:
        duplicates = f"{made.duplicates:,} examples have an exact duplicate"
        out.say(f"Warning: {duplicates}: their membership is ambiguous.", err=True)
    out.say(f"Use it with: --task npz:path={made.spec}")


def _tasks() -> dict[str, type[DataTask]]:
    from privbench.builtin.tasks import BUILTIN

    return {cls.name: cls for cls in BUILTIN}


def _is_sound(task: DownloadedTask) -> bool:
    """Return whether all files are present, with correct checksums if these are known."""
    from privbench.store.reading import guarded

    try:
        with guarded(f"{task.name} cannot be read", ""):
            task.source()
    except DataError:
        return False
    return True


def _no_download(name: str) -> str:
    return "it reads your own files; see privbench data import --help" if name == "npz" else "it is always ready."
