"""Boards: folders of records, with the attacks over which their rows are ranked.

A file `board.toml` in a folder, written by hand, declares them for all records below it:

    title = "The default grid on digits"
    attacks = ["lira", "rmia", "lira:mode=offline"]
    rank-by = "tpr@1%"
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from privbench.errors import UnknownName, UsageError, did_you_mean
from privbench.options import quoting
from privbench.records import ranking
from privbench.records.comparable import age, made_as
from privbench.records.reading import refuse
from privbench.records.record import located
from privbench.records.selection import completed
from privbench.store.reading import inside, toml_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from privbench.errors import InvalidRecord
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


def boards(
    paths: Iterable[Path],
    attacks: Sequence[str] | None = None,
    invalid: Callable[[InvalidRecord], None] = refuse,
) -> list[Board]:
    """Return the boards in files and folders: one for each folder with a declaration, one for the rest.

    attacks: declared by the caller, for all records together; declarations in folders are then ignored
    invalid: called for each file that is no valid record, which is left out; by default it raises

    Raises UsageError for an invalid declaration, UnknownName for an unknown declared attack.
    """
    by_place: dict[Path | None, list[tuple[Path, Record]]] = {}
    left_out: list[InvalidRecord] = []

    def leave_out(error: InvalidRecord) -> None:
        left_out.append(error)
        invalid(error)

    for path in paths:
        declared = functools.lru_cache(maxsize=None)(functools.partial(_declared, path))
        for file, record in located([path], leave_out):
            place = None if attacks is not None else declared(file.parent)
            by_place.setdefault(place, []).append((file, record))
    made = []
    for place, records in by_place.items():
        board = read(inside(place, place / DECLARATION)) if place is not None else Board()
        board = board if attacks is None else replace(board, attacks=tuple(attacks))
        where = f"{place / DECLARATION}: attacks" if place is not None else "--attacks"
        there = {record.attack.spec for _, record in records}
        full = None if board.attacks is None else _full(board.attacks, there, where, lenient=bool(left_out))
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
    attacks: list[str] = []
    for text in texts:
        first = True
        for part in filter(None, map(str.strip, quoting.split(text, ","))):
            if not first and "=" in part and ":" not in part.partition("=")[0]:
                attacks[-1] += f",{part}"
            else:
                attacks.append(part)
            first = False
    return attacks


def _declared(path: Path, place: Path) -> Path | None:
    """Return the closest folder, from that of a file up to the given path, that declares a board."""
    for folder in (place, *place.parents) if path.is_dir() else ():
        if (folder / DECLARATION).is_file():
            return folder
        if folder == path:
            break
    return None


def _newest(records: Sequence[tuple[Path, Record]]) -> tuple[list[tuple[Path, Record]], list[tuple[Path, Path]]]:
    """Return the newest record of each cell, and the pairs of files in which one replaces the other."""
    newest: dict[tuple[Any, ...], tuple[Path, Record]] = {}
    replaced = []
    for file, record in records:
        other = newest.setdefault(made_as(record), (file, record))
        if other[0].resolve() == file.resolve() or other[1] == record:
            continue
        newer, older = ((file, record), other) if age(record) > age(other[1]) else (other, (file, record))
        newest[made_as(record)] = newer
        replaced.append((newer[0], older[0]))
    return list(newest.values()), replaced


def _full(attacks: Sequence[str], there: set[str], where: str, *, lenient: bool) -> tuple[str, ...]:
    """Return attacks as in records, with all options in order.

    there: those in records. lenient: accept unknown ones, because they may be those of records that were left out
    """
    from privbench.options.fields import spec
    from privbench.plugins.loading import catalogue, resolve

    full = []
    installed = set() if there.issuperset(attacks) else set(catalogue().of("attack"))
    for text in attacks:
        name = text.partition(":")[0]
        if text not in there and name in installed:
            full.append(spec(resolve("attack", text), keyed_only=True))
            continue
        names = {each.partition(":")[0] for each in there} | installed
        if name not in names and not lenient:
            raise UnknownName(f"{where}: no attack named {name!r}.{did_you_mean(name, names)}")
        full.append(text)
    return tuple(dict.fromkeys(full))
