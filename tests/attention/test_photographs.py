import io
import struct
import zlib

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageFile

from bamsearch.attention import photographs
from bamsearch.attention.photographs import as_input, frame, read_photograph
from bamsearch.errors import InvalidValueError

# top left, top right, bottom left, bottom right: a picture that looks different turned any way
CORNERS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]


@pytest.fixture
def corners() -> Image.Image:
    """60 x 40, a colour in each quarter."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    for number, colour in enumerate(CORNERS):
        row, column = divmod(number, 2)
        pixels[row * 20 : row * 20 + 20, column * 30 : column * 30 + 30] = colour
    return Image.fromarray(pixels)


def assert_corners(picture, tolerance=12) -> None:
    assert (picture.mode, picture.size) == ("RGB", (60, 40))
    middles = [picture.getpixel((x, y)) for y in (10, 30) for x in (15, 45)]
    assert np.abs(np.subtract(middles, CORNERS)).max() <= tolerance, middles


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "a.gif", "a.ppm", "a.JPG", "no_suffix"],
)
def test_formats(corners, tmp_path, name):
    path = tmp_path / name
    corners.save(path, format=None if "." in name else "PNG")
    assert_corners(read_photograph(path))


# EXIF orientation → what a camera that was held so has stored of an upright picture
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.rotate(180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.rotate(90, expand=True),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.rotate(-90, expand=True),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation(corners, tmp_path, orientation, suffix):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    STORED[orientation](corners).save(path, exif=exif)
    assert_corners(read_photograph(path))


OLD_PILLOW = int(PIL.__version__.partition(".")[0]) < 13
YCBCR = pytest.param(
    "YCbCr", marks=pytest.mark.skipif(OLD_PILLOW, reason="Pillow 12 cannot read what it wrote")
)


@pytest.mark.parametrize("mode", ["CMYK", YCBCR, "P", "RGBA"])
def test_colours_however_they_are_stored(corners, tmp_path, mode):
    path = tmp_path / "a.tiff"
    corners.convert(mode).save(path)
    assert_corners(read_photograph(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_is_grey(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.new("L", (6, 4), 255).convert(mode).save(path)
    assert read_photograph(path).getpixel((2, 2)) == (255, 255, 255)


def grey_png(values, bits: int) -> bytes:
    """A PNG of one row of grey values, written by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + crc

    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")]
    )


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(grey_png([0, 128 * 257, 65535], 16))
    picture = read_photograph(path)
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "value_range", "bytes_"),
    [
        ([0, 0.2, 1], None, [0, 51, 255]),
        ([0, 51, 255], (0, 255), [0, 51, 255]),
        ([-1000, -800, 0], (-1000.0, 0.0), [0, 51, 255]),
        ([-5000, 0.2, 9], (0, 1), [0, 51, 255]),
    ],
    ids=["type", "to 255", "hounsfield", "clipped"],
)
def test_floating_point_tiff(tmp_path, values, value_range, bytes_):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([values], np.float32)).save(path)
    picture = read_photograph(path, value_range)
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == bytes_


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    path = tmp_path / "a.png"
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 2, 2))
    image.convert(mode).save(path)
    picture = read_photograph(path)
    assert picture.getpixel((3, 1)) == (255, 255, 255)
    assert np.abs(np.subtract(picture.getpixel((0, 0)), (200, 0, 0))).max() <= 8


def test_the_first_frame(corners, tmp_path):
    path = tmp_path / "moving.gif"
    corners.save(path, save_all=True, append_images=[Image.new("RGB", (60, 40), "white")])
    assert_corners(read_photograph(path))


def test_a_folder_and_nothing(tmp_path):
    with pytest.raises(InvalidValueError, match=r"is a folder: pass the images in it, as .*\*"):
        read_photograph(tmp_path)
    with pytest.raises(InvalidValueError, match=r"^no image at .*none\.jpg: check the path"):
        read_photograph(tmp_path / "none.jpg")


@pytest.mark.parametrize("cut", [20, 300])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_a_file_that_is_cut_short(tmp_path, format, cut):
    path = tmp_path / "cut"
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, format)
    path.write_bytes(buffer.getvalue()[:cut])
    with pytest.raises(InvalidValueError, match="convert it to PNG or JPEG") as failure:
        read_photograph(path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7\n"])
def test_what_is_not_a_picture(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InvalidValueError, match=r"a\.jpg is not a readable image"):
        read_photograph(path)


def test_more_pixels_than_a_file_can_hold(corners, tmp_path, monkeypatch):
    path = tmp_path / "a.bmp"
    corners.save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", 9000, 9000)  # the header of a bitmap: width, height
    path.write_bytes(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    message = rf"a\.bmp claims 9000×9000 pixels in {len(content):,} bytes, so it is damaged"
    with pytest.raises(InvalidValueError, match=message):
        read_photograph(path)


def test_too_many_pixels(corners, tmp_path, monkeypatch):
    corners.save(tmp_path / "a.png")
    # Pillow raises from twice the number on, and warns before; the pixels are never decoded.
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for most in (60 * 40 // 2 - 1, 60 * 40 - 1):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(InvalidValueError, match=rf"a\.png has too many pixels, over {most:,}:"):
            read_photograph(tmp_path / "a.png")
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 40)
    assert_corners(read_photograph(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("size", "shape", "box"),
    [
        ((60, 40), (3, 20, 20), (10, 0, 50, 40)),
        ((40, 60), (3, 20, 20), (0, 10, 40, 50)),
        ((60, 40), (3, 30, 20), (60 / 2 - 40 / 3, 0, 60 / 2 + 40 / 3, 40)),
        ((60, 40), (3, 20, 60), (0, 10, 60, 30)),
        ((7, 5), (3, 224, 224), (1, 0, 6, 5)),
        ((1, 1), (3, 8, 8), (0, 0, 1, 1)),
    ],
)
def test_the_middle_fills_the_input(size, shape, box):
    framed = frame(Image.new("RGB", size), shape)
    assert framed.picture.size == (shape[2], shape[1])
    assert framed.box == pytest.approx(box)


def test_what_is_seen_is_what_the_box_says(corners):
    picture = frame(corners, (3, 20, 20)).picture
    assert [picture.getpixel(at) for at in ((4, 4), (15, 4), (4, 15), (15, 15))] == CORNERS


@pytest.mark.parametrize(
    ("size", "seen"), [((60, 40), (48, 32)), ((40, 60), (32, 48)), ((600, 60), (320, 32))]
)
def test_a_whole_photograph_keeps_its_aspect(size, seen):
    framed = frame(Image.new("RGB", size), (3, 32, 64), whole=True)
    assert framed.picture.size == seen
    assert framed.box == (0, 0, *size)


def test_a_whole_photograph_that_is_too_long():
    with pytest.raises(InvalidValueError, match=r"601×60 is too elongated .*omit `full`"):
        frame(Image.new("RGB", (601, 60)), (3, 32, 32), whole=True)


def test_a_network_of_other_channels():
    with pytest.raises(InvalidValueError, match="expects 4 channels, but photographs have 3 or 1"):
        frame(Image.new("RGB", (6, 6)), (4, 32, 32))


def test_the_middle_of_a_cell_in_the_photograph():
    framed = frame(Image.new("RGB", (600, 400)), (3, 224, 224))  # sees x 100 to 500, all of y
    assert framed.place(0, 0, 4, 4) == pytest.approx((150, 50))
    assert framed.place(3, 1, 4, 4) == pytest.approx((250, 350))
    assert framed.place(0, 0, 1, 1) == pytest.approx((300, 200))


def test_pixels_are_normalised():
    picture = Image.new("RGB", (3, 2), (255, 0, 51))
    batch = as_input(picture, (0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    assert batch.shape == (1, 3, 2, 3)
    for channel, value in enumerate((1.0, -0.5, 0.1)):
        torch.testing.assert_close(batch[0, channel], torch.full((2, 3), value))


def test_a_network_of_one_channel_sees_grey():
    framed = frame(Image.new("RGB", (8, 8), (60, 60, 60)), (1, 4, 4))
    batch = as_input(framed.picture, (0.0,), (1.0,))
    torch.testing.assert_close(batch, torch.full((1, 1, 4, 4), 60 / 255))


def test_every_format_is_one_that_pillow_knows():
    Image.init()
    assert {*photographs.FORMATS} <= {*Image.OPEN}
    assert not {"EPS", "PDF"} & {*photographs.FORMATS}
