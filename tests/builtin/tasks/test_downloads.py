"""Data that are not there, where they are looked for, and downloads that fail."""

from pathlib import Path

import platformdirs
import pytest

from privbench.builtin.tasks import BUILTIN
from privbench.builtin.tasks.downloads import DownloadedTask
from privbench.builtin.tasks.svhn import Svhn
from privbench.builtin.tasks.tiny_imagenet import TinyImageNet
from privbench.data.imported import data_root
from privbench.errors import DataError, PrivbenchError
from privbench.options.fields import build, options_of

DOWNLOADED = [cls for cls in BUILTIN if issubclass(cls, DownloadedTask)]


def test_the_data_root_is_the_given_one_then_the_environments_then_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVBENCH_DATA", str(tmp_path))
    assert data_root("~/x") == Path.home() / "x"
    assert data_root() == tmp_path
    monkeypatch.delenv("PRIVBENCH_DATA")
    assert data_root() == platformdirs.user_data_path("privbench")


@pytest.mark.parametrize("cls", [cls for cls in DOWNLOADED if not cls.by_hand], ids=lambda cls: cls.name)
def test_missing_data_are_answered_with_the_command_that_fetches_them(cls, root):
    with pytest.raises(DataError) as caught:
        build(cls, {}).load()
    assert str(caught.value) == f"{cls.name} is not in {root}; fetch it with: privbench data fetch {cls.name}"
    with pytest.raises(DataError, match=f"privbench data fetch {cls.name} --root elsewhere$"):
        build(cls, {"root": "elsewhere"}).load()
    assert cls.size
    assert cls.missing(root) == cls.wanted()


@pytest.mark.parametrize("cls", DOWNLOADED, ids=lambda cls: cls.name)
def test_where_the_data_lie_shapes_no_result(cls):
    assert "root" not in options_of(build(cls, {"root": "x"}), keyed_only=True)


@pytest.mark.parametrize(
    "error", [OSError("no route\nto host"), RuntimeError("File not found or corrupted."), EOFError()]
)
def test_a_download_that_fails_is_one_line(root, monkeypatch, error):
    def fail(_cls, _root):
        raise error

    monkeypatch.setattr(Svhn, "download", classmethod(fail))
    with pytest.raises(
        PrivbenchError, match=r"^svhn could not be fetched into .*: .+\. Check the connection"
    ) as caught:
        Svhn.fetch(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [cls for cls in DOWNLOADED if not cls.by_hand], ids=lambda cls: cls.name)
def test_without_a_connection_it_says_what_to_place_where(cls, root, monkeypatch):
    monkeypatch.setattr(cls, "download", classmethod(lambda *_: (_ for _ in ()).throw(OSError("no route"))))
    with pytest.raises(PrivbenchError) as caught:
        cls.fetch(root)
    _, _, by_hand = str(caught.value).partition("; or download ")
    addresses, _, place = by_hand.partition(" elsewhere, and ")
    assert all(address.startswith("http") for address in addresses.split(", "))
    how, _, folder = place.removesuffix(".").partition(" it in ")
    for name in cls.wanted():
        assert Path(folder) in (root / name).parents
        assert how == "unpack" or Path(name).name in addresses


def test_what_cannot_be_fetched_says_how_to_get_it(root):
    with pytest.raises(DataError, match=f"^tiny-imagenet cannot be fetched: download .* unpack it in {root}$"):
        TinyImageNet.fetch(root)
