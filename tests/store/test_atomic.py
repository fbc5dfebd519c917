import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privbench.errors import CannotWrite
from privbench.store.atomic import atomic_write, ensure_writable, is_abandoned, temporary_name


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_content_is_old_or_new(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    atomic_write(path, b"old")
    assert path.read_bytes() == b"old"

    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    atomic_write(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    mine = temporary_name()
    dead = mine.replace(f"{os.getpid()}-", f"{ended_process()}-")
    kept = [f".[a]*.json.{mine}.tmp", f".other.{dead}.tmp", ".[a]*.json.x.tmp"]
    for name in (*kept, f".[a]*.json.{dead}.tmp"):
        (tmp_path / name).touch()
    atomic_write(tmp_path / "[a]*.json", b"")
    assert {path.name for path in tmp_path.iterdir()} == {"[a]*.json", *kept}


def test_files_are_as_readable_as_any_other(tmp_path):
    atomic_write(tmp_path / "a", b"")
    Path(tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_only_names_of_ended_processes_of_this_host_are_abandoned():
    mine = temporary_name()
    dead = mine.replace(f"{os.getpid()}-", f"{ended_process()}-")
    assert is_abandoned(dead)
    assert is_abandoned(mine.replace(f"{os.getpid()}-", "9999999999-"))
    assert mine != temporary_name()
    init = mine.replace(f"{os.getpid()}-", "1-")
    assert not any(map(is_abandoned, (mine, init, dead[:-8] + "00000000", "notes", "")))


@pytest.mark.parametrize("place", ["new", "new/below", ""])
def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path, place):
    ensure_writable(tmp_path / place, "records")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file", "it is not a folder"),
        ("file/below", "it is not a folder"),
        ("dangling", "it is not a folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line_that_names_it(tmp_path, place, reason):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CannotWrite) as caught:
        ensure_writable(tmp_path / place, "records")
    assert str(caught.value) == f"Cannot write records into {tmp_path / place}: {reason}."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


def test_a_full_disk_is_noticed_by_writing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CannotWrite, match=r"^Cannot write records into .*/new: No space left on device\.$"):
        ensure_writable(tmp_path / "new", "records")
    assert list(tmp_path.iterdir()) == []
