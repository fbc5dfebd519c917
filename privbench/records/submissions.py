"""Boards: folders of records, with the attacks over which their rows are ranked.

A file `board.toml` in a folder, written by hand, declares them for all records below it:

    title = "The default grid on digits"
    attacks = ["lira", "rmia", "lira:mode=offline"]
    rank-by = "tpr@1%"
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from privbench.errors import UnknownName, UsageError, did_you_mean
from privbench.options import quoting
from privbench.records import ranking
from privbench.records.comparable import age, made_as
from privbench.records.record import located
from privbench.records.selection import completed
from privbench.store.reading import inside, toml_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from privbench.records.record import Record

DECLARATION = "board.toml"
KEYS = ("title", "attacks", "rank-by")


@dataclass(frozen=True)
class Board:
    """Records that are ranked together, with the declaration of the ranking."""

    title: str = ""
    attacks: tuple[str, ...] | None = None
    """Attacks over which rows are ranked; None: not declared."""
    rank_by: str = ""
    """Ranking column; empty: not declared."""
    records: Sequence[Record] = ()
    replaced: Sequence[tuple[Path, Path]] = field(default=())
    """Pairs of files of one cell, of which the first is newer and counts."""


def boards(paths: Iterable[Path], attacks: Sequence[str] | None = None) -> list[Board]:
    """Return the boards in files and folders: one for each folder with a declaration, one for the rest.

    attacks: declared by the caller, for all records together; declarations in folders are then ignored

    Raises UsageError for an invalid record or declaration, UnknownName for an unknown declared attack.
    """
    found: dict[Path | None, list[tuple[Path, Record]]] = {}
    for path in paths:
        for file, record in located([path]):
            place = None if attacks is not None else _declared(path, file)
            found.setdefault(place, []).append((file, record))
    made = []
    for place, records in found.items():
        board = read(inside(place, place / DECLARATION)) if place is not None else Board()
        board = board if attacks is None else replace(board, attacks=tuple(attacks))
        where = f"{place / DECLARATION}: attacks" if place is not None else "--attacks"
        full = None if board.attacks is None else _full(board.attacks, [record for _, record in records], where)
        kept, replaced = _newest(records)
        made.append(replace(board, attacks=full, records=[r for _, r in completed(kept)], replaced=replaced))
    return made


def read(file: Path) -> Board:
    """Return the board that a file declares, without records. Raises UsageError with the name of the file."""
    content = {key.replace("_", "-"): value for key, value in toml_of(file).items()}
    for key in content:
        if key not in KEYS:
            raise UsageError(f"{file}: no entry {key!r}.{did_you_mean(key, KEYS)} Entries: {', '.join(KEYS)}.")
    title, rank_by, attacks = content.get("title", ""), content.get("rank-by", ""), content.get("attacks")
    if not isinstance(title, str) or not isinstance(rank_by, str):
        raise UsageError(f"{file}: title and rank-by are texts.")
    if attacks is not None and not (attacks and isinstance(attacks, list) and all(isinstance(a, str) for a in attacks)):
        raise UsageError(f"{file}: attacks is a list of one attack or more, each a text: name:option=value.")
    if rank_by:
        try:
            ranking.check(rank_by)
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from None
    return Board(title, None if attacks is None else tuple(attacks), rank_by)


def named(texts: Sequence[str]) -> list[str]:
    """Return the attacks in texts, separated by commas: lira,rmia or lira:mode=offline,variance=global,rmia.

    A part with an equals sign but no colon before it is another option of the attack before it.
    """
    found: list[str] = []
    for text in texts:
        first = True
        for part in filter(None, map(str.strip, quoting.split(text, ","))):
            if not first and "=" in part and ":" not in part.partition("=")[0]:
                found[-1] += f",{part}"
            else:
                found.append(part)
            first = False
    return found


def _declared(path: Path, file: Path) -> Path | None:
    """Return the closest folder above a file, up to the given path, that declares a board."""
    for folder in file.parents if path.is_dir() else ():
        if (folder / DECLARATION).is_file():
            return folder
        if folder == path:
            break
    return None


def _newest(records: Sequence[tuple[Path, Record]]) -> tuple[list[tuple[Path, Record]], list[tuple[Path, Path]]]:
    """Return the newest record of each cell, and the pairs of files in which one replaces the other."""
    found: dict[tuple[Any, ...], tuple[Path, Record]] = {}
    replaced = []
    for file, record in records:
        other = found.setdefault(made_as(record), (file, record))
        if other[0].resolve() == file.resolve() or other[1] == record:
            continue
        newer, older = ((file, record), other) if age(record) > age(other[1]) else (other, (file, record))
        found[made_as(record)] = newer
        replaced.append((newer[0], older[0]))
    return list(found.values()), replaced


def _full(attacks: Sequence[str], records: Sequence[Record], where: str) -> tuple[str, ...]:
    """Return attacks as in records, with all options in order."""
    from privbench.options.fields import spec
    from privbench.plugins.loading import catalogue, resolve

    there = {record.attack.spec for record in records}
    full = []
    installed = set() if there.issuperset(attacks) else set(catalogue().of("attack"))
    for text in attacks:
        name = text.partition(":")[0]
        if text not in there and name in installed:
            full.append(spec(resolve("attack", text), keyed_only=True))
            continue
        names = {each.partition(":")[0] for each in there} | installed
        if name not in names:
            raise UnknownName(f"{where}: no attack named {name!r}.{did_you_mean(name, names)}")
        full.append(text)
    return tuple(dict.fromkeys(full))
