"""Reader of users' tables (.csv, .tsv, .parquet): columns of numbers and texts, with a note on every guess."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.data.archives import EXPANSION, SPARE
from privbench.errors import DataError
from privbench.external.conversion import EXACT, as_array
from privbench.store.reading import fault, guarded, memory, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from privbench.aliases import Array

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas", " ": "blanks"}
"""Separators in the order of trial: a comma may also be a decimal point, a blank may be part of a text."""
FOR_EXCEL = re.compile(r'"?sep=.?"?\s*')
"""First line with the separator for Excel."""
LONGEST = 1 << 24
"""Characters that a line of a table may have, among those that are sampled."""
CELL = 8
"""Bytes of a cell in memory."""
SAMPLE = 50
"""Number of rows used to detect the separator and the header."""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a table file by name, in order.

    columns: (n,) numbers, with NaN for empty cells; or booleans; or texts, with "" for empty cells; (n, length) for
        lists in a .parquet file
    empty: number of empty cells, for columns that have some
    notes: sentences about the file: separator, index, missing header
    """

    columns: dict[str, Array]
    empty: dict[str, int]
    notes: tuple[str, ...]


def read_table(path: Path, as_text: Callable[[str], bool] = lambda name: False) -> Table:  # noqa: ARG005 - none is
    """Read a table. Only empty cells are missing: "NA", "None" and "nan" are texts.

    as_text: column name -> whether its cells stay texts as written, so that 01 and 1 differ; for labels

    Raises DataError with the fault and its correction.
    """
    if found := fault(path):
        raise DataError(f"{path}: {found}; give a table.")
    frame, notes = (_parquet if path.suffix.lower() == ".parquet" else _text)(path, as_text)
    frame, said = _without_index(frame)
    if not len(frame):
        raise DataError(f"{path.name} has no rows.")
    missing = {name: int(count) for name, count in frame.isna().sum().items() if count}
    columns = {name: _column(frame[name], f"{path.name}: column {name!r}", as_text(name)) for name in frame.columns}
    return Table(columns, missing, (*notes, *said))


def classes(texts: Array) -> Array:
    """Return labels as int64 if all are written as integers (7 or 7.0e+00, but not 07), else unchanged."""
    try:
        numbers = texts.astype(np.float64)
        with np.errstate(invalid="ignore"):  # for NaN and infinity, which are not integers below
            whole = numbers.astype(np.int64)
    except ValueError:
        return texts
    plain = (np.char.find(texts, ".") > 0) | (whole.astype(np.str_) == texts)
    alike = len(np.unique(whole)) == len(np.unique(texts))  # 1 and 1.0 are two classes, or a mistake
    return whole if plain.all() and alike and (np.abs(numbers) < EXACT).all() and (whole == numbers).all() else texts


def _column(column: pd.Series[Any], name: str, as_text: bool) -> Array:
    if as_text or column.dtype.kind not in "biuf":
        whole = as_array(column.dropna(), name) if column.notna().any() else np.empty(0, dtype=np.str_)
        if whole.ndim > 1 and len(whole) == len(column):  # cells are lists
            return whole
        if not as_text and whole.dtype.kind in "iuf":  # decimals in .parquet files
            numbers = np.full(len(column), np.nan)
            numbers[column.notna().to_numpy()] = whole
            return numbers
        texts = np.full(len(column), "", dtype=whole.astype(np.str_).dtype if len(whole) else np.str_)
        texts[column.notna().to_numpy()] = whole
        return texts
    if column.dtype.kind != "f" and column.isna().any():
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return as_array(column, name)


def _without_index(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Drop an unnamed column that numbers the rows, as written by pandas and R, and empty unnamed columns."""
    notes = []
    unnamed = [name for name in frame.columns if name.startswith("Unnamed: ")]
    for name in unnamed:
        if frame[name].isna().all():
            frame = frame.drop(columns=name)
        elif name == "Unnamed: 0":
            numbers = frame[name].is_unique and frame[name].dtype.kind != "f"
            frame = frame.drop(columns=name)
            also = " and numbers the rows" if numbers else ""
            notes.append(f"the first column has no name{also}: taken for an index, and left out.")
        else:
            notes.append(f"column {name!r} has no name in the file, and is kept.")
    return frame, notes


def _parquet(path: Path, as_text: Callable[[str], bool]) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    with guarded(f"{path} is not a readable .parquet file", "write it again, or save the table as .csv"):
        try:
            _check_size(path)
            frame = pd.read_parquet(path)
        except ImportError:
            raise DataError(
                f"Reading {path.name} takes pyarrow: pip install 'privbench[parquet]', or save the table as .csv."
            ) from None
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if not frame.columns.is_unique:
        raise DataError(f"{path.name} has several columns of one name; give each its own.")
    names = [None if name is None else str(name) for name in frame.index.names]
    if isinstance(frame.index, pd.RangeIndex) and names == [None]:
        return frame, []
    frame.index.names = names
    kept = [name for name in names if name is not None and as_text(name) and name not in frame.columns]
    left = ", ".join(repr(name) for name in names if name is not None and name not in kept)
    notes = [f"the index{f', {left},' if left else ''} is left out."] if len(kept) < len(names) else []
    return frame.reset_index(level=kept).reset_index(drop=True) if kept else frame.reset_index(drop=True), notes


def _text(path: Path, as_text: Callable[[str], bool]) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    sample, encoding = _sample(path)
    above = int(len(sample) > 1 and FOR_EXCEL.fullmatch(sample[0]) is not None)
    with guarded(f"{path} is not a readable table", "save it again as CSV in UTF-8"):
        separator, rows = _separator(sample[above:])
    header = _has_header(rows)
    names = rows[0] if header else [str(i) for i in range(len(rows[0]))]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path.name} has several columns called {twice!r}; give each its own name.")
    # With our own names, pandas finds the type of a label with blanks around its name, and without a header.
    columns = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    decimal = "," if separator in ";\t" and _decimal_commas(rows[1:]) else "."
    with guarded(f"{path} is not a readable table", "save it again as CSV in UTF-8"), opened(path) as file:
        frame = pd.read_csv(
            file,
            sep=r"\s+" if separator == " " else separator,
            header=0 if header else None,
            names=columns,
            skiprows=above,
            decimal=decimal,
            dtype={name: str for name in names if as_text(name)},
            na_values=[""],
            keep_default_na=False,
            skipinitialspace=True,
            low_memory=False,
            encoding=encoding,
        )
    notes = [] if separator == "," else [f"columns are separated by {SEPARATORS[separator]}."]
    notes += ["numbers have decimal commas."] if decimal == "," else []
    notes += [] if header else ["the first row holds numbers only: there is no header, columns are called 0, 1, ..."]
    if header and len(rows) > 1 and len(rows[1]) == len(names) + 1:
        notes.append("rows have one cell more than the header: the first is taken for an index, and left out.")
        frame = frame.reset_index(drop=True)
    return frame, notes


def _sample(path: Path) -> tuple[list[str], str]:
    """Return the first lines of a text file, and its encoding: UTF-8, or UTF-16 if it has a byte order mark."""
    with guarded(f"{path} is not text in UTF-8", "save it as CSV in UTF-8"), opened(path) as file:
        encoding = "utf-16" if file.read(2) in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
        file.seek(0)
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            lines = [text.readline(LONGEST) for _ in range(SAMPLE)]
    if any(len(line) == LONGEST for line in lines):
        raise DataError(f"{path} is not a table: it has a line of more than {LONGEST:,} characters.")
    if "\0" in "".join(lines):
        raise DataError(f"{path} is not a text file: it contains zero bytes.")
    if not "".join(lines).strip():
        raise DataError(f"{path} is empty.")
    return [line for line in lines if line.strip()], encoding


def _separator(lines: list[str]) -> tuple[str, list[list[str]]]:
    """Return the separator for which all rows have the same number of cells, more than one, and the rows; else commas.

    The header may have one cell less than the rows, if R or pandas left the index without a name.
    """
    for separator in SEPARATORS:
        rows = _rows(lines, separator)
        widths = {len(row) for row in rows[1:-1] or rows[1:] or rows}  # the last row may be truncated
        if len(widths) == 1 and max(widths) > 1 and len(rows[0]) in {max(widths), max(widths) - 1}:
            return separator, rows
    return ",", _rows(lines, ",")


def _rows(lines: list[str], separator: str) -> list[list[str]]:
    lines = [" ".join(line.split()) + "\n" for line in lines] if separator == " " else lines
    cells = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in cells if row]


def _has_header(rows: list[list[str]]) -> bool:
    """Return whether the first row names the columns: it has texts, or counts from 0 as default names of pandas do."""
    first = [cell for cell in rows[0] if cell]
    if not all(_is_number(cell) for cell in first):
        return True
    others = {cell for row in rows[1:] for cell in row}
    return len(first) > 1 and first == [str(i) for i in range(len(first))] and not others <= {"0", "1"}


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _decimal_commas(rows: list[list[str]]) -> bool:
    """Return whether numbers have decimal commas and none has a decimal point."""
    cells = [cell for row in rows for cell in row if _is_number(cell)]
    return any("," in cell for cell in cells) and not any("." in cell for cell in cells)


def _check_size(path: Path) -> None:
    """Raise DataError if a .parquet file, which stores equal cells once, promises more cells than fit into memory."""
    try:
        from pyarrow import parquet  # type: ignore[import-not-found]

        about = parquet.read_metadata(path)
        needed = about.num_rows * about.num_columns * CELL
    except Exception:  # noqa: BLE001 - the reader says what is wrong with it
        return
    if needed > min(EXPANSION * path.stat().st_size + SPARE, memory()):
        raise DataError(
            f"{path} promises {about.num_rows:,} rows of {about.num_columns:,} columns, too many for its size or the "
            f"memory of this machine; give fewer rows."
        )
