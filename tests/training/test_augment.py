"""Augmentation and normalisation of images in bytes."""

import pytest
import torch

from bamsearch.training.augment import (
    augment,
    crop_each,
    flip_each,
    normalise_pixels,
    resized_crop_each,
)


@pytest.fixture
def images() -> torch.Tensor:
    """Eight images of 16x8; no two pixels of a channel are alike, and none is black."""
    pixels = torch.arange(1, 16 * 8 + 1, dtype=torch.uint8).reshape(1, 1, 16, 8)
    return pixels.expand(8, 3, 16, 8).clone()


def test_normalised_by_hand():
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    result = normalise_pixels((0.5, 0.2), (0.25, 0.1))(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.tensor([[[[-2.0, 2.0]], [[0.0, 2.0]]]]))


def test_a_crop_is_the_image_moved_over_black(images):
    torch.manual_seed(0)
    result = crop_each(images)
    moves = set()
    for before, after in zip(images, result, strict=True):
        at = {int(v): divmod(i, 8) for i, v in enumerate(before[0].flatten())}
        seen = [(divmod(i, 8), at[int(v)]) for i, v in enumerate(after[0].flatten()) if v]
        down, right = seen[0][0][0] - seen[0][1][0], seen[0][0][1] - seen[0][1][1]
        # every pixel has moved alike, and all that could stay in the frame is there
        assert all((r - y, c - x) == (down, right) for (r, c), (y, x) in seen)
        assert len(seen) == (16 - abs(down)) * (8 - abs(right))
        assert torch.equal(after[0], after[1])
        moves.add((down, right))
    # an eighth of 16 and of 8
    assert all(abs(down) <= 2 and abs(right) <= 1 for down, right in moves)
    assert len(moves) > 1


def test_every_move_up_to_an_eighth_occurs():
    torch.manual_seed(0)
    ones = torch.zeros(2000, 1, 16, 8, dtype=torch.uint8)
    ones[:, :, 8, 4] = 1
    places = {tuple(move) for move in crop_each(ones)[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(8 + down, 4 + right) for down in range(-2, 3) for right in (-1, 0, 1)}


def test_each_image_is_mirrored_or_not(images):
    torch.manual_seed(0)
    result = flip_each(images.repeat(50, 1, 1, 1))
    mirrored = images[0].flip(-1)
    flags = [torch.equal(image, mirrored) for image in result]
    assert all(
        torch.equal(image, images[0]) for image, flag in zip(result, flags, strict=True) if not flag
    )
    # 400 fair coins: six standard deviations of 10
    assert 140 < sum(flags) < 260


def test_a_resized_crop_differs_from_image_to_image(images):
    torch.manual_seed(0)
    result = resized_crop_each(images)
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    assert len({image.numpy().tobytes() for image in result}) > 1


@pytest.mark.parametrize("kind", ["none", "crop", "flip-crop", "resized-crop"])
def test_the_seed_decides(images, kind):
    result = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        result.append(augment(kind)(images))
    assert torch.equal(result[0], result[1])
    assert torch.equal(result[0], result[2]) == (kind == "none")
