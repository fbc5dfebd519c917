"""`privbench data`: what is here, fetching, importing."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from privbench.builtin.tasks.cifar import Cifar10
from privbench.builtin.tasks.svhn import Svhn
from privbench.cli.data import data
from privbench.errors import DataError, PrivbenchError, UnknownName


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("COLUMNS", raising=False)  # so that tables are plain
    return tmp_path / "data"


def run(*arguments):
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def failure(*arguments):
    """Return the error of a command, which the command line prints as its one line."""
    error = run(*arguments).exception
    assert "\n" not in str(error)
    return error


def test_list_shows_what_is_here_and_how_to_get_the_rest(root):
    (root / "imported").mkdir(parents=True)
    (root / "imported" / "faces.npz").write_bytes(bytes(1234))
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (root / name).touch()
    rows = {line.split()[0]: line for line in run("list").output.splitlines() if line}
    assert "ready" in rows["digits"]
    assert "ready" in rows["svhn"]
    assert str(root) in rows["svhn"]
    assert "absent" in rows["cifar100"]
    assert "privbench data fetch cifar100" in rows["cifar100"]
    assert "tiny-imagenet-200.zip" in rows["tiny-imagenet"]
    assert "1.2 kB" in rows["npz:path=faces"]
    assert "npz" not in rows


def test_list_of_another_root_says_how_to_fetch_into_it(root, tmp_path):
    assert f"privbench data fetch mnist --root {tmp_path}" in run("list", "--root", tmp_path).output


def test_fetch_downloads_what_is_absent_and_leaves_what_is_sound(root, monkeypatch):
    fetched = []
    monkeypatch.setattr(Svhn, "source", lambda _self: None)
    monkeypatch.setattr(Cifar10, "download", classmethod(lambda cls, folder: fetched.append((cls.name, folder))))
    result = run("fetch", "svhn", "cifar10")
    assert result.exit_code == 0, result.exception
    assert result.output == f"svhn is already in {root}.\ncifar10 is in {root}. Use it with: --task cifar10\n"
    assert fetched == [("cifar10", root)]


def test_a_damaged_download_is_fetched_again(root, monkeypatch):
    fetched = []
    monkeypatch.setattr(Svhn, "download", classmethod(lambda _cls, folder: fetched.append(folder)))
    root.mkdir()
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (root / name).touch()
    run("fetch", "svhn")
    assert fetched == [root]


def test_a_network_that_fails_is_one_line(root, monkeypatch):
    def fail(_cls, _root):
        raise OSError("<urlopen error no route to host>")

    monkeypatch.setattr(Svhn, "download", classmethod(fail))
    error = failure("fetch", "svhn")
    assert isinstance(error, PrivbenchError)
    assert "no route to host. Check the connection" in str(error)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("cifar01", UnknownName, "No data set 'cifar01'. Did you mean 'cifar10'?"),
        ("npz", UnknownName, "'npz' needs no download: it reads your own files; see privbench data import --help"),
        ("digits", UnknownName, "'digits' needs no download: it is always ready."),
        ("tiny-imagenet", DataError, "tiny-imagenet cannot be fetched: download tiny-imagenet-200.zip"),
    ],
)
def test_what_cannot_be_fetched_is_said_before_anything_is(root, monkeypatch, name, kind, message):
    monkeypatch.setattr(Svhn, "download", classmethod(lambda *_: pytest.fail("downloaded")))
    error = failure("fetch", "svhn", name)
    assert isinstance(error, kind)
    assert str(error).startswith(message)


def test_import_prints_how_to_use_it_and_warns_of_duplicates(root, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(40)[:, None] // 2, y=np.arange(40) % 2)
    result = run("import", tmp_path / "a.npz", "--name", "mine")
    assert result.exit_code == 0, result.exception
    assert f"{root / 'imported' / 'mine.npz'}: 40 examples of shape (1,), 2 classes" in result.output
    assert "roles: pool 29, reference 3, validation 2, test 6" in result.output
    assert "Warning: 40 examples have an exact duplicate" in result.output
    assert "Use it with: --task npz:path=mine\n" in result.output


def test_import_of_nothing_is_one_line(root, tmp_path):
    assert "There is no" in str(failure("import", tmp_path / "absent.csv"))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such users")
def test_a_folder_of_a_user_who_does_not_exist_is_one_line(monkeypatch):
    monkeypatch.setenv("PRIVBENCH_DATA", "~no-such-user/data")
    assert "write it without ~" in str(failure("list"))


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_list_leaves_out_what_is_no_file(root):
    (root / "imported").mkdir(parents=True)
    (root / "imported" / "gone.npz").symlink_to("nowhere")
    (root / "imported" / "folder.npz").mkdir()
    output = run("list").output
    assert "gone" not in output
    assert "folder.npz" not in output
