"""Files of NumPy: sound ones bit for bit, hostile ones in one line and before memory is allocated."""

from __future__ import annotations

import io
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.data import archives
from privbench.data.archives import archive, single
from privbench.errors import DataError

SOUND = {
    "table": np.random.default_rng(0).normal(size=(7, 3)),
    "column-major": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "texts": np.array(["a", "\u00e9"]),
    "bytes": np.array([b"a", b"bc"]),
    "booleans": np.array([True, False]),
    "scalar": np.array(3),
    "empty": np.zeros((0, 28, 28), np.uint8),
    "complex": np.array([1j]),
    "fields": np.array([(1, 2.0)], dtype=[("\u03b5", "i4"), ("b", "f8")]),
}


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_sound_arrays_are_read_bit_for_bit(save, tmp_path):
    save(tmp_path / "x.npz", **SOUND)
    with archive(tmp_path / "x.npz", "x", "two") as found, np.load(tmp_path / "x.npz") as expected:
        assert found.files == expected.files
        for name in SOUND:
            array, other = found[name], expected[name]
            assert (array.dtype, array.shape, array.strides) == (other.dtype, other.shape, other.strides)
            assert array.tobytes() == other.tobytes()


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("name", SOUND)
def test_a_single_array_is_read_bit_for_bit(name, tmp_path):
    np.save(tmp_path / "x.npy", SOUND[name])
    array = single(tmp_path / "x.npy")
    assert array.dtype == SOUND[name].dtype
    assert array.tobytes() == SOUND[name].tobytes()


def header(text, data=bytes(800)):
    """Return a .npy file with any header."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + data


def shape(text, kind="<f4"):
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {text}}}")


HEADERS = {
    "more numbers than bytes": shape("(1000000, 1000000)"),
    "18 GB": shape("(1000000000, 5)"),
    "a number of many digits": shape(f"({10**30}, 2)"),
    "a boolean": shape("(True, 5)"),
    "a negative length": shape("(-1, 5)"),
    "a float": shape("(1.0, 5)"),
    "no tuple": shape("5"),
    "rows of no size": shape(f"({10**18},)", "|V0"),
    "rows without columns": shape(f"({10**15}, 0)"),
    "many axes": shape("(" + "1," * 99 + ")"),
    "large elements": shape("(1000,)", "<U1000000"),
    "objects": shape("(3,)", "|O"),
    "an unknown type": shape("(3,)", "hello"),
    "parentheses": header("(" * 5000),
    "minuses": header("{'descr':'<f4','fortran_order':False,'shape':(" + "-" * 4000 + "1,)}"),
    "strings": header("'" * 101),
    "a null": header("\0"),
    "other keys": header("{'shape': (3,)}"),
    "long": header(" " * 20_000),
    "no version": b"\x93NUMPY",
    "version 9": b"\x93NUMPY\x09\x09" + bytes(100),
    "half a header": shape("(200,)")[:30],
    "half of the data": shape("(200,)")[:300],
    "nothing": b"",
    "no array": b"hello",
    "a pickle": b"\x80\x04]\x94.",
}


def zipped(path, content, method=zipfile.ZIP_DEFLATED, name="x.npy"):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(name, content)
    return path


def refused(read, limit=1 << 24):
    """Check that reading raises DataError in one line, and allocates little."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as told:
            read()
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
    assert "\n" not in str(told.value)
    assert "x.np" in str(told.value)
    return str(told.value)


def all_of(path):
    with archive(path, str(path), "two") as found:
        return [found[name] for name in found.files]


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_are_refused_before_memory_is_allocated(name, tmp_path):
    path = zipped(tmp_path / "x.npz", HEADERS[name])
    refused(lambda: all_of(path))
    (tmp_path / "x.npy").write_bytes(HEADERS[name])
    refused(lambda: single(tmp_path / "x.npy"))


def patched(path, local, central, value):
    """Overwrite a field of the first entry in both directories of an archive."""
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        if offset is not None:
            at = data.index(magic) + offset
            data[at : at + len(value)] = value
    path.write_bytes(data)


FIELDS = {
    "encrypted": (6, 8, b"\1", "is encrypted"),
    "an unknown method": (8, 10, b"\x63\0", "no readable"),
    "an unknown version": (None, 6, b"\x63", "no readable"),
    "another checksum": (14, 16, b"\1\2\3\4", "no readable"),
    "a size that is too large": (None, 24, struct.pack("<I", 2**32 - 2), "takes 4.29 GB"),
    "a size that is too small": (None, 24, struct.pack("<I", 100), "x.npz"),
    "a start beyond the end": (None, 42, struct.pack("<I", 2**31), "no readable"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_hostile_archives_are_refused(name, tmp_path):
    path = zipped(tmp_path / "x.npz", shape("(200,)"))
    local, central, value, said = FIELDS[name]
    patched(path, local, central, value)
    assert said in refused(lambda: all_of(path))


def test_an_archive_that_expands_a_thousandfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SPARE", 1 << 20)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 1000), np.float32))
    assert "too much for the size of the file" in refused(lambda: all_of(tmp_path / "x.npz"))
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 200), np.float32))
    assert all_of(tmp_path / "x.npz")[0].shape == (1000, 200)


def test_entries_that_share_their_bytes_count_each(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SPARE", 0)
    monkeypatch.setattr(archives, "EXPANSION", 3)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1000))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("a.npy", buffer.getvalue())
        for i in range(5):
            copy = zipfile.ZipInfo(f"b{i}.npy")
            first = file.infolist()[0]
            copy.file_size, copy.compress_size, copy.CRC = first.file_size, first.compress_size, first.CRC
            copy.header_offset = 0
            file.filelist.append(copy)
            file.NameToInfo[copy.filename] = copy
    refused(lambda: all_of(tmp_path / "x.npz"))


def test_arrays_larger_than_the_memory_are_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", x=np.zeros(1000))
    np.save(tmp_path / "x.npy", np.zeros(1000))
    monkeypatch.setattr(archives, "memory", lambda: 4000.0)
    assert "memory of this machine" in refused(lambda: all_of(tmp_path / "x.npz"))
    assert "memory of this machine" in refused(lambda: single(tmp_path / "x.npy"))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_read_or_refused_in_one_line(damage, at):
    with tempfile.TemporaryDirectory() as folder:
        path = zipped(Path(folder) / "x.npz", shape("(200,)"), zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        data[at : at + len(damage)] = damage
        path.write_bytes(data)
        try:
            all_of(path)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
