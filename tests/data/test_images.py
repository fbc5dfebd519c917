"""Image files as rows, and the archive that keeps them decoded."""

import os
import struct

import numpy as np
import pytest
from PIL import Image

from privbench.data import images
from privbench.data.depth import header
from privbench.data.images import ImageFiles, decode, npz_bytes
from privbench.errors import DataError


@pytest.fixture
def paths(tmp_path):
    made = []
    for i in range(5):
        made.append(tmp_path / f"{i}.png")
        Image.fromarray(np.full((6, 8, 3), 10 * i, np.uint8)).save(made[-1])
    return made


def test_rows_are_decoded_in_the_order_asked_for(paths):
    x = ImageFiles(paths, "set")[np.array([3, 0])]
    assert (x.shape, x.dtype) == ((2, 6, 8, 3), np.uint8)
    assert x[:, 0, 0, 0].tolist() == [30, 0]


def test_images_are_cropped_at_the_centre_then_resized_and_made_grey(tmp_path):
    pixels = np.zeros((10, 10), np.uint8)
    pixels[3:7, 3:7] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", "set", crop=4, size=2, grey=True).tolist() == [[[200]] * 2] * 2
    assert decode(tmp_path / "a.png", "set").shape == (10, 10, 3)


def test_images_of_two_sizes_are_refused(paths):
    Image.new("RGB", (9, 9)).save(paths[2])
    with pytest.raises(DataError, match=r"set: .*2.png has 9x9 pixels, but .*0.png has 6x8; resize them to one size"):
        ImageFiles(paths, "set")[np.arange(5)]


@pytest.fixture
def kept(paths, tmp_path, monkeypatch):
    """Files that are kept decoded, and how often they were decoded."""
    monkeypatch.setattr(images, "WORTH_KEEPING", 2)
    count = []
    monkeypatch.setattr(images, "decode", lambda *given, **how: count.append(1) or decode(*given, **how))
    return ImageFiles(paths, "set", cache=tmp_path / "cache"), count


def test_what_was_decoded_is_kept(kept):
    files, count = kept
    first = files[np.arange(5)]
    assert np.array_equal(files[np.arange(5)], first)
    assert len(count) == 5
    files[np.array([1, 2])]
    assert len(count) == 7


def test_a_changed_file_is_decoded_again(kept, paths):
    files, _ = kept
    files[np.arange(5)]
    Image.fromarray(np.full((6, 8, 3), 99, np.uint8)).save(paths[1])
    os.utime(paths[1], ns=(1, 1))
    assert files[np.arange(5)][1, 0, 0, 0] == 99


def test_a_damaged_archive_is_made_again(kept, tmp_path):
    files, _ = kept
    first = files[np.arange(5)]
    (archive,) = (tmp_path / "cache").iterdir()
    data = bytearray(archive.read_bytes())
    for damage in (bytes(data[:-30]), b"", bytes(data[:200]) + b"\x07" + bytes(data[201:])):
        archive.write_bytes(damage)
        assert np.array_equal(files[np.arange(5)], first)


def test_a_folder_that_cannot_be_written_only_costs_time(kept, tmp_path):
    files, _ = kept
    (tmp_path / "cache").write_text("a file is in the way")
    assert len(files[np.arange(5)]) == 5


def test_a_missing_file_is_named_before_any_is_decoded(kept, paths):
    paths[4].unlink()
    with pytest.raises(DataError, match=r"4.png is missing; unpack the archive again"):
        kept[0][np.arange(5)]
    assert not kept[1]


def test_an_archive_has_the_same_bytes_at_every_writing_and_reads_back(tmp_path):
    arrays = {"x": np.arange(6).reshape(2, 3), "y": np.array(["a", "b"])}
    assert npz_bytes(arrays) == npz_bytes(arrays)
    (tmp_path / "a.npz").write_bytes(npz_bytes(arrays))
    with np.load(tmp_path / "a.npz") as found:
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def entry(tag, value):
    """Return an entry of the header of a TIFF file."""
    return struct.pack("<HHII", tag, 4, 1, value)


def test_what_is_no_image_is_refused_in_one_line(tmp_path, monkeypatch, capfd):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "sound.png")
    sound = (tmp_path / "sound.png").read_bytes()
    hostile = {
        "cut": sound[: len(sound) // 2],
        "text": b"hello",
        "nothing": b"",
        "samples": b"II*\0\x08\0\0\0\x03\0" + b"".join(map(entry, (256, 257, 277), (9, 9, 9999))) + bytes(4),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "large": sound.replace(b"IHDR" + (9).to_bytes(4, "big") * 2, b"IHDR" + (60_000).to_bytes(4, "big") * 2),
    }
    for name, content in hostile.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in [*hostile, "pipe", "folder"]:
        for read in (decode, header)[: 1 if name == "cut" else 2]:  # a header has no pixels
            with pytest.raises(DataError, match=rf"set: .*{name}\.png") as told:
                read(tmp_path / f"{name}.png", "set")
            assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(images, "memory", lambda: 300.0)
    with pytest.raises(DataError, match="2 images of 9x9 pixels do not fit into memory; resize them"):
        ImageFiles([tmp_path / "sound.png"] * 2, "set")[np.arange(2)]
