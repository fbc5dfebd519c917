"""What users give as files: pipes, links, nests, names that no file can have."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from privbench.errors import CannotWrite, DataError, UsageError
from privbench.store import reading

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OverflowError("too large"),
        RecursionError("too deep"),
        NotImplementedError("method 99"),
        AttributeError("no\nattribute"),
        SyntaxError("("),
        OSError(5, "Input/output error"),
        type("Panic", (BaseException,), {})("of a parser"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_reader_raises_is_one_line(error):
    with pytest.raises(DataError) as told, reading.guarded("x.npz is no readable file", "write it again"):
        raise error
    text = str(told.value)
    assert text.startswith("x.npz is no readable file")
    assert "; write it again" in text
    assert text.endswith(".")
    assert "\n" not in text
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), CannotWrite("full"), UsageError("as it is")])
def test_our_own_errors_and_the_end_of_the_run_pass(error):
    with pytest.raises(type(error)) as passed, reading.guarded("x", "y"):
        raise error
    assert passed.value is error


@pytest.fixture
def strange(tmp_path):
    """Paths that are no plain files, by what they are."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = {
        "is a folder": tmp_path,
        "is a pipe": tmp_path / "pipe",
        "is a device": Path("/dev/zero"),
        "no such file": tmp_path / "none",
        "is a link to a file that does not exist": tmp_path / "away",
        "cannot be read, Too many levels": tmp_path / "loop",
        "cannot be read, File name too long": tmp_path / ("x" * 5000),
        "cannot be read, embedded null": tmp_path / "a\0b",
        "cannot be read, Not a directory": Path(__file__) / "x",
    }
    here = Path.cwd()
    os.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        yield {**found, "is a socket": tmp_path / "socket"}
    os.chdir(here)


@unix
def test_only_plain_files_are_opened(strange):
    for what, path in strange.items():
        assert reading.fault(path).startswith(what), path
        assert not reading.is_file(path)
        with pytest.raises(DataError, match=what):
            reading.opened(path)
        with pytest.raises(DataError):
            reading.toml_of(path)


@unix
def test_a_file_is_opened_as_it_is_also_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"bytes")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name in "ab":
        with reading.opened(tmp_path / name) as file:
            assert file.read() == b"bytes"


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME" if sys.platform != "win32" else "USERPROFILE", str(tmp_path))
    assert reading.home(Path("~/x")) == tmp_path / "x"
    if sys.platform != "win32":
        with pytest.raises(DataError, match="write the path without ~"):
            reading.home(Path("~no-such-user/x"))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "[" * 65 + "]" * 65,
        ".".join("a" * 70) + " = 1",
        "a = " + "9" * 5000,
        "a = 2025-02-30",
        "a = 1\na = 2",
        "\udcff",
    ],
)
def test_toml_that_cannot_be_read_is_one_line(text, tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"x\.toml is not valid TOML: ") as told:
        reading.toml_of(path)
    assert "\n" not in str(told.value)


def test_files_beyond_the_limit_are_refused_before_they_are_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)  # a sparse file
    with pytest.raises(DataError, match="has more than 1,024 kB"):
        reading.toml_of(tmp_path / "x")
    with pytest.raises(DataError, match="has more than 65,536 kB"):
        reading.content(tmp_path / "x", reading.JSON_LIMIT)


@pytest.fixture
def linked(tmp_path):
    """A folder with files, links inside, and links that lead out of it."""
    for name in ("root/a/1", "root/b/2", "elsewhere/secret"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "root/b/3").symlink_to(tmp_path / "root/a/1")
    (tmp_path / "root/b/back").symlink_to(tmp_path / "root")
    (tmp_path / "root/b/file").symlink_to(tmp_path / "elsewhere/secret")
    (tmp_path / "root/folder").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "root"


@unix
def test_no_link_out_of_a_folder_is_followed(linked):
    files, links = reading.below(linked, linked)
    assert [str(path.relative_to(linked)) for path in files] == ["a/1", "b/2", "b/3"]
    assert [str(path.relative_to(linked)) for path in links] == ["b/file", "folder"]
    with pytest.raises(DataError, match=r"b/file is a link out of .*root, which is not followed; put the files"):
        reading.files_below(linked, linked)
    with pytest.raises(DataError, match="folder is a link out of"):
        reading.folders_in(linked, linked)
    with pytest.raises(DataError, match="folder is a link out of"):
        reading.below(linked / "folder", linked)


@unix
def test_a_folder_that_is_given_may_be_a_link(linked):
    (linked.parent / "named").symlink_to(linked / "a")
    assert [path.name for path in reading.files_below(linked.parent / "named", linked.parent / "named")] == ["1"]


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path):
    for found in (reading.files_below, reading.folders_in):
        with pytest.raises(DataError, match="cannot be listed; give a folder that can be read"):
            found(tmp_path / "none", tmp_path)


def test_memory():
    assert reading.memory() > 1e8
