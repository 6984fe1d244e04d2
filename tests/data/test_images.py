import numpy as np
import pytest
import torch
from PIL import Image

from bamsearch.data.images import Fit
from bamsearch.errors import DataError


def test_grey_becomes_three_channels_that_are_the_same():
    image = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 2, 3)
    fitted = Fit((3, 2, 3)).arrays(image)
    assert fitted.shape == (1, 3, 2, 3)
    assert fitted.is_contiguous()
    assert all(torch.equal(fitted[:, channel], image[:, 0]) for channel in range(3))


def test_colour_becomes_grey():
    image = torch.tensor([100, 150, 200], dtype=torch.uint8).reshape(1, 3, 1, 1)
    # Rec. 601: 0.299 * 100 + 0.587 * 150 + 0.114 * 200
    assert abs(int(Fit((1, 1, 1)).arrays(image)) - 140.75) <= 1


def test_short_text_is_left_as_it_is():
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    assert torch.equal(Fit((3, 5, 5)).arrays(images), images)


def test_the_middle_is_taken_of_a_wide_image():
    image = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=torch.uint8)[None, None]
    assert Fit((1, 2, 2)).arrays(image).tolist() == [[[[2, 3], [6, 7]]]]
    # and of a tall one
    assert Fit((1, 2, 2)).arrays(image.mT.contiguous()).tolist() == [[[[2, 6], [3, 7]]]]


def test_halves_are_means_and_many_are_resized_as_one():
    image = torch.tensor([[0, 0, 200, 200]] * 4, dtype=torch.uint8)[None, None]
    halved = Fit((1, 2, 2)).arrays(image)
    assert halved[0, 0, 0, 0] < 40 < 160 < halved[0, 0, 0, 1]
    many = Fit((1, 2, 2)).arrays(image.expand(1030, 1, 4, 4))
    assert many.shape == (1030, 1, 2, 2)
    assert (many == halved).all()


@pytest.mark.parametrize("shape", [(3, 7, 7), (3, 9, 30), (1, 31, 4), (3, 1, 2), (1, 1, 1)])
def test_any_size_to_any_other(shape):
    images = torch.full((2, 3, 10, 12), 77, dtype=torch.uint8)
    fitted = Fit(shape).arrays(images)
    assert fitted.shape == (2, *shape)
    assert (fitted.int() - 77).abs().max() <= 1


def test_a_file_is_scaled_by_its_short_side_and_cut(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :2] = (255, 0, 0)  # cut off
    pixels[:, 2:6] = (0, 255, 0)
    pixels[:, 6:] = (0, 0, 255)  # cut off
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    read = Fit((3, 4, 4)).file(path)
    assert read.dtype == torch.uint8
    assert read.tolist() == [[[0] * 4] * 4, [[255] * 4] * 4, [[0] * 4] * 4]
    assert Fit((1, 4, 4)).file(path).shape == (1, 4, 4)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_files_of_any_mode(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.new(mode, (6, 6)).save(path)
    assert Fit((3, 4, 4)).file(path).shape == (3, 4, 4)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png is not a readable image") as raised:
        Fit((3, 4, 4)).file(path)
    assert "\n" not in str(raised.value)


def test_a_file_cut_short(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        Fit((3, 8, 8)).file(path)
