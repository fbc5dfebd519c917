"""Files of NumPy, .npz and .npy, with their headers checked before memory is allocated.

A header may promise any shape, a zip archive may expand a thousandfold, and NumPy trusts both. Objects, which are
pickled, are refused.
"""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from typing import IO, TYPE_CHECKING

import numpy as np

from privbench.errors import DataError
from privbench.store.reading import guarded, memory, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privbench.aliases import Array

NPY, ZIP = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of files."""
EXPANSION, SPARE = 200, 1 << 30
"""Largest size of arrays in terms of that of their archive, and bytes beyond that: zip bombs expand a thousandfold."""
EMPTY_AXIS = 1 << 20
"""Longest axis of an array without elements, whose size says nothing."""


class Archive:
    """Arrays of a .npz file by name, read on demand."""

    def __init__(self, file: zipfile.ZipFile, size: int, where: str) -> None:
        self._file = file
        self._where = where
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in file.infolist()}
        self._left = min(EXPANSION * size + SPARE, memory())

    @property
    def files(self) -> list[str]:
        """Names of the arrays."""
        return list(self._entries)

    def __getitem__(self, name: str) -> Array:
        """Read one array. Raises DataError for an entry that is no array or too large, and what the parsers raise."""
        entry = self._entries[name]
        self._left -= entry.file_size
        if entry.flag_bits & 1:
            raise DataError(f"{self._where}: {name} is encrypted; save it with numpy.savez.")
        if self._left < 0:
            raise DataError(
                f"{self._where}: {name} takes {entry.file_size / 1e9:.3g} GB, too much for the size of the file or the "
                f"memory of this machine; save it uncompressed, with numpy.savez, or with fewer examples."
            )
        with self._file.open(entry) as member:
            check_header(member, entry.file_size, f"{self._where}: {name}")
        with self._file.open(entry) as member:
            array: Array = np.lib.format.read_array(member, allow_pickle=False)
        return array


@contextlib.contextmanager
def archive(path: Path, where: str, several: str) -> Iterator[Archive]:
    """Lend a .npz file to be read. Raises DataError for what is none, is damaged, or holds objects.

    where: what it is called in messages; several: what to save in place of a single array.
    """
    with (
        guarded(f"{where} is no readable .npz file", "write it again with numpy.savez"),
        opened(path, where) as file,
    ):
        start = file.read(len(NPY))
        if start == NPY:
            raise DataError(f"{where} is a single array; save {several}.")
        if start and not start.startswith(ZIP):
            raise DataError(
                f"{where} holds pickled objects, which are never loaded, or no arrays; "
                f"save plain arrays of numbers with numpy.savez."
            )
        with zipfile.ZipFile(file) as found:
            yield Archive(found, os.fstat(file.fileno()).st_size, where)


def single(path: Path) -> Array:
    """Return the array of a .npy file. Raises DataError."""
    with guarded(f"{path} is no readable .npy file", "write it with numpy.save"), opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(NPY)) != NPY:
            raise DataError(f"{path} is no .npy file, or holds pickled objects; save an array of numbers.")
        file.seek(0)
        check_header(file, size, str(path))
        if size > memory():
            raise DataError(f"{path} has {size / 1e9:.3g} GB, more than the memory of this machine; give a part of it.")
        file.seek(0)
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


def check_header(file: IO[bytes], size: int, where: str) -> None:
    """Raise DataError if an array in .npy format needs other than `size` bytes, or holds objects; other errors too.

    file: at its start
    where: its name in messages
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(f"{where} holds pickled objects, which are never loaded; save an array of numbers.")
    sound = dtype.itemsize > 0 and all(type(axis) is int and axis >= 0 for axis in shape)
    needed = math.prod(shape) * dtype.itemsize if sound else 0
    if not sound or needed > size - file.tell() or (not needed and max(shape) > max(EMPTY_AXIS, size)):
        raise DataError(
            f"{where} claims the shape {_short(shape)} of {dtype.itemsize}-byte numbers, but has {size} bytes; "
            f"write it again."
        )


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004 - a line
