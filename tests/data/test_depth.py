"""Bit depth of image files: scaled to 8 bits by what the file has, or refused by name; never clipped."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from privbench.data.depth import Header, eight_bit, header, scaled
from privbench.data.folders import folder
from privbench.data.images import decode
from privbench.errors import DataError
from privbench.external.pictures import folder as pictures

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (9, 7)).astype(np.uint16)
COLOUR = RNG.integers(0, 65536, (9, 7, 3)).astype(np.uint16)
FLOATS = RNG.random((9, 7)).astype(np.float32)
BYTES = RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8)
TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types by channels."""


def png16(path, pixels):
    """Write a 16-bit PNG, which Pillow does for one channel only."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def pgm(path, pixels, most):
    path.write_bytes(f"P5 {pixels.shape[1]} {pixels.shape[0]} {most}\n".encode() + pixels.astype(">u2").tobytes())


SCALED = {
    "16-bit PNG": (lambda path: png16(path.with_suffix(".png"), DEEP), DEEP / 257),
    "16-bit TIFF": (lambda path: Image.fromarray(DEEP).save(path.with_suffix(".tif")), DEEP / 257),
    "16-bit PGM": (lambda path: pgm(path.with_suffix(".pgm"), DEEP, 65535), DEEP / 257),
    "12-bit PGM": (lambda path: pgm(path.with_suffix(".pgm"), DEEP // 16, 4095), DEEP // 16 * (255 / 4095)),
    "16-bit RGB": (lambda path: png16(path.with_suffix(".png"), COLOUR), COLOUR / 257),
    "float TIFF": (lambda path: Image.fromarray(FLOATS).save(path.with_suffix(".tif")), FLOATS * 255),
    "1-bit": (lambda path: Image.fromarray(DEEP > 2**15).save(path.with_suffix(".png")), (DEEP > 2**15) * 255),
    "palette": (lambda path: Image.fromarray(BYTES[..., 0]).convert("P").save(path.with_suffix(".png")), BYTES[..., 0]),
    "opaque RGBA": (
        lambda path: Image.fromarray(BYTES | np.array([0, 0, 0, 255], np.uint8)).save(path.with_suffix(".png")),
        BYTES[..., :3],
    ),
    "CMYK": (
        lambda path: Image.fromarray(BYTES, "CMYK").save(path.with_suffix(".tif")),
        np.asarray(Image.fromarray(BYTES, "CMYK").convert("RGB")),
    ),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("write", "right"), SCALED.values(), ids=SCALED)
def test_what_a_picture_shows_survives(tmp_path, write, right):
    write(tmp_path / "a")
    (path,) = tmp_path.iterdir()
    found = decode(path, "set", grey=right.ndim == 2)
    assert found.dtype == np.uint8
    assert np.abs(found.reshape(right.shape) - right).max() <= 1
    assert header(path, "set").is_deep == (right.dtype.kind == "f")


def frames(path):
    one, two = Image.fromarray(BYTES[..., 0]), Image.fromarray(BYTES[..., 1])
    one.save(path.with_suffix(".tif"), save_all=True, append_images=[two])


def with_transparent_colour(path):
    Image.fromarray(BYTES[..., 0]).convert("P").save(path.with_suffix(".png"), transparency=int(BYTES[0, 0, 0]))


REFUSED = {
    "32 bits": (
        lambda path: Image.fromarray(DEEP.astype(np.int32) * 30000).save(path.with_suffix(".tif")),
        r"a\.tif holds 32-bit or signed integers \(mode I\) of no known range; save 8 or 16 bits",
    ),
    "floats to 255": (
        lambda path: Image.fromarray(np.clip(FLOATS, 0, 0.99) * 256).save(path.with_suffix(".tif")),
        r"a\.tif holds floats from \S+ to 253\.44 \(mode F\); scale them to \[0, 1\]",
    ),
    "NaN": (
        lambda path: Image.fromarray(np.where(DEEP > 30000, FLOATS, np.nan).astype(np.float32)).save(
            path.with_suffix(".tif")
        ),
        r"a\.tif holds floats from nan to nan",
    ),
    "RGBA": (
        lambda path: Image.fromarray(BYTES).save(path.with_suffix(".png")),
        r"a\.png has transparent pixels \(mode RGBA\); flatten it onto a background",
    ),
    "LA": (
        lambda path: Image.fromarray(BYTES).convert("LA").save(path.with_suffix(".png")),
        r"a\.png has transparent pixels \(mode LA\)",
    ),
    "palette": (with_transparent_colour, r"a\.png has transparent pixels \(mode P\)"),
    "frames": (frames, r"a\.tif holds 2 frames; save each as a file of its own"),
}


@pytest.mark.parametrize(("write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_eight_bits_cannot_hold_is_refused_by_name(tmp_path, write, message):
    write(tmp_path / "a")
    (path,) = tmp_path.iterdir()
    with pytest.raises(DataError, match=message) as caught:
        decode(path, "set")
    assert str(caught.value).startswith(f"set: {tmp_path}")
    assert "\n" not in str(caught.value)


def test_in_a_folder_of_several_depths_each_file_is_scaled_by_its_own(tmp_path):
    for k, label in enumerate(("cat", "dog")):
        (tmp_path / label).mkdir()
        png16(tmp_path / label / "deep.png", DEEP)
        Image.fromarray((DEEP >> 8).astype(np.uint8)).save(tmp_path / label / f"flat{k}.png")
    parts, notes = folder(tmp_path, None)
    x = parts["train"][0]
    assert x.shape == (4, 9, 7, 1)
    assert np.abs(x[0].astype(int) - x[1]).max() <= 1
    assert notes == [f"{tmp_path.name}: 2 of 4 images have more than 8 bits a channel; they were scaled to 8."]
    again, said = pictures(tmp_path, "real")
    assert np.array_equal(again, x)
    assert said == ["real: 2 of 4 images have more than 8 bits a channel; they were scaled to 8."]


def test_twelve_bits_that_were_saved_as_sixteen_are_refused():
    deep, flat = Header(is_grey=True, is_deep=True), Header(is_grey=True, is_deep=False)
    x = np.concatenate([np.full((2, 4, 4, 1), 15, np.uint8), np.full((2, 4, 4, 1), 250, np.uint8)])
    with pytest.raises(DataError, match=r"brightest pixel of 2 images of more than 8 bits has 5\.9% of the full range"):
        scaled(x, [deep, deep, flat, flat], "set")
    assert scaled(x, [flat] * 4, "set") == []
    assert len(scaled(x, [deep] * 4, "set")) == 1


def test_a_mode_that_pillow_cannot_convert_is_named():
    with pytest.raises(DataError, match=r"set: a\.psd has mode PA, which cannot be converted; save it as RGB"):
        eight_bit(Unconvertible(), "set: a.psd", grey=False)


class Unconvertible:
    """A Pillow image of a mode without a way to RGB."""

    format, mode, has_transparency_data = "PSD", "PA", False

    def convert(self, mode):
        raise ValueError(f"conversion from PA to {mode} not supported")


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_saved_as_16_are_refused_to_their_brightest(tmp_path, bits):
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.full((9, 7), 2**bits - 1, np.uint16)).save(tmp_path / "cat" / "a.png")
    with pytest.raises(DataError, match="as where fewer bits are saved as 16"):
        folder(tmp_path, None)


def test_pictures_are_turned_as_their_camera_was(tmp_path):
    said = Image.Exif()
    said[0x0112] = 6  # the first row is the right side
    Image.fromarray(BYTES[..., :3]).save(tmp_path / "a.png", exif=said)
    Image.fromarray(BYTES[..., :3]).save(tmp_path / "b.png")
    right = np.rot90(BYTES[..., :3], -1)
    assert np.array_equal(decode(tmp_path / "a.png", "set"), right)
    assert np.array_equal(decode(tmp_path / "b.png", "set"), BYTES[..., :3])
