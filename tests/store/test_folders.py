import sys

import pytest

from privbench.store.folders import discard, entries, size_on_disk


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "b").write_bytes(bytes(10))
    (folder / "inner" / "a").write_bytes(bytes(3))
    return folder


def test_a_folder_is_listed_measured_and_removed(folder):
    assert entries(folder) == [folder / "b", folder / "inner"]
    assert size_on_disk(folder) == 13
    for path in entries(folder):
        discard(path)
    assert entries(folder) == []
    discard(folder)
    assert entries(folder) == []
    assert size_on_disk(folder) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_a_link_is_not_followed(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert entries(link) == []
    assert size_on_disk(tmp_path) == 13 + link.lstat().st_size
    discard(link)
    assert entries(tmp_path) == [folder]
    assert size_on_disk(folder) == 13
