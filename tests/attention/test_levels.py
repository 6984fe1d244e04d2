"""Images of more than 8 bits: a range that is sure, or one line that says what to do."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bamsearch.attention.levels import Levels
from bamsearch.attention.photographs import is_wide, read_photograph
from bamsearch.errors import DataError

RAMP = np.tile(np.linspace(0, 1, 32), (32, 1))


def colour_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, (H, W, 3), which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + crc

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def write(tmp_path):
    """``write(values)`` is the file of an array as Pillow writes it."""

    def save(values: np.ndarray, name: str = "a.tiff"):
        Image.fromarray(values).save(tmp_path / name)
        return tmp_path / name

    return save


def reds(path, *args) -> list[int]:
    picture = read_photograph(path, *args)
    return sorted({picture.getpixel((x, 0))[0] for x in range(picture.width)})


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        (RAMP * 4095, "a.png", "has 16-bit values, 0 to 4095, .* `value_range=0:4095`$"),
        (RAMP * 255, "a.png", "has 16-bit values, 0 to 255, .* `value_range=0:255`$"),
        (RAMP * 4095, "a.tiff", "has 16-bit values, 0 to 4095, .* `value_range=0:4095`$"),
    ],
)
def test_sixteen_bits_that_are_fewer(write, values, name, said):
    with pytest.raises(DataError, match=f"{name} {said}"):
        read_photograph(write(values.astype(np.uint16), name))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((RAMP * 255).astype(np.int32), "integer values, 0 to 255, .* `value_range=0:255`$"),
        (
            (RAMP * 1e9).astype(np.int32),
            r"integer values, 0 to 1e\+09, .*=0:1073741823`$",
        ),
        ((RAMP * 2000 - 1000).astype(np.int32), "-1000 to 1000, .* `value_range=-1000:1000`$"),
        (
            (RAMP * 1.02).astype(np.float32),
            "floating-point values, 0 to 1.02, .*=0:1.02`$",
        ),
        ((RAMP * 0.01).astype(np.float32), "floating-point values, 0 to 0.01,"),
        ((RAMP - 0.001).astype(np.float32), "floating-point values, -0.001 to 0.999,"),
        (np.full((4, 4), np.nan, np.float32), "a.tiff has NaN or infinite pixels"),
        (np.full((4, 4), np.inf, np.float32), "a.tiff has NaN or infinite pixels"),
    ],
)
def test_other_types_without_a_sure_range(write, values, said):
    with pytest.raises(DataError, match=said) as failure:
        read_photograph(write(values))
    assert "\n" not in str(failure.value)


def test_a_named_range_keeps_the_grey_levels(write):
    twelve = write((RAMP * 4095).astype(np.uint16), "a.png")
    assert reds(twelve, (0.0, 4095.0)) == sorted(
        {round(k * 4095 // 31 / 4095 * 255) for k in range(32)}
    )
    assert reds(write((RAMP * 2000 - 1000).astype(np.int32)), (-1000.0, 1000.0))[::31] == [0, 255]


def test_a_hot_pixel_does_not_make_twelve_bits_sixteen(write):
    values = np.full((64, 64), 4095, np.uint16)
    values[0, 0] = 65535
    with pytest.raises(DataError, match="values, 4095 to 65535,"):
        read_photograph(write(values, "a.png"))
    values[:2, :4] = 65535
    assert reds(write(values, "b.png")) == [16, 255]


def test_eight_bits_are_theirs_whatever_is_named(write):
    path = write((RAMP * 100).astype(np.uint8), "a.png")
    assert not is_wide(path)
    assert reds(path, (0.0, 10.0)) == reds(path)


def test_what_says_what_white_is(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 4095\n" + struct.pack(">2H", 1000, 4095))
    assert reds(tmp_path / "a.pgm") == [round(1000 / 4095 * 255), 255]
    assert reds(tmp_path / "a.pgm", (0.0, 10.0)) == [round(1000 / 4095 * 255), 255]


def test_colour_of_sixteen_bits_loses_its_lower_byte(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(colour_png(np.dstack([RAMP * 65535] * 3).astype(np.uint16)))
    assert len(reds(path)) == 32
    path.write_bytes(colour_png(np.dstack([RAMP * 4095] * 3).astype(np.uint16)))
    assert is_wide(path)
    with pytest.raises(
        DataError, match=r"16-bit colour values, 0 to 3855, .* upper 8 bits can be read"
    ):
        read_photograph(path)
    levels = Levels((0.0, 4095.0))
    read_photograph(path, (0.0, 4095.0), levels)
    with pytest.raises(DataError, match="too few for `value_range=0:4095`: convert these images"):
        levels.check()


def test_a_set_decides_together(write):
    levels = Levels()
    dark = write((RAMP * 6000).astype(np.uint16), "dark.png")
    assert max(reds(dark, None, levels)) == round(6000 / 257)
    with pytest.raises(DataError, match=r"dark\.png has 16-bit values, 0 to 6000,"):
        levels.check()
    bright = write((RAMP * 65535).astype(np.uint16), "bright.png")
    assert max(reds(bright, None, levels)) == 255
    levels.check()
    beyond = Levels((70000.0, 80000.0))
    read_photograph(bright, (70000.0, 80000.0), beyond)
    with pytest.raises(DataError, match=r"bright\.png has .* outside `value_range=70000:80000`:"):
        beyond.check()
