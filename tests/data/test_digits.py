import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bamsearch.data.loading import load_data
from bamsearch.errors import DataError, InvalidValueError

# 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 images of the ten digits: a tenth of each
TENTHS = [17, 18, 17, 18, 18, 18, 18, 17, 17, 18]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_what_is_known_of_them(digits):
    facts = digits.facts
    assert facts.name == "digits"
    assert facts.input_shape == (3, 8, 8)
    assert facts.classes == 10
    assert digits.class_names == tuple("0123456789")
    assert digits.native_size == (8, 8)
    assert (facts.train, facts.validation, facts.test) == (1797 - 2 * 176, 176, 176)
    assert sum(TENTHS) == 176
    assert facts.split_seed == 0
    assert len(facts.hash) == 16
    assert int(facts.hash, 16) >= 0


def test_the_splits_have_a_tenth_of_each_class(digits):
    for split in (digits.validation, digits.test()):
        assert split.labels.bincount().tolist() == TENTHS


def test_together_they_are_scikit_learns_own_images(digits):
    splits = (digits.train, digits.validation, digits.test())
    ours = torch.cat([split.images[:, 0] for split in splits]).flatten(1)
    ours = torch.cat([ours, torch.cat([split.labels for split in splits])[:, None]], 1)
    theirs = load_digits()
    wanted = np.concatenate(
        [np.round(theirs.images.reshape(1797, 64) * 255 / 16), theirs.target[:, None]], 1
    )
    assert sorted(ours.tolist()) == sorted(wanted.astype(int).tolist())


def test_an_image_and_its_label(digits):
    image, label = digits.train[7]
    assert torch.equal(image, digits.train.images[7])
    assert image.shape == (3, 8, 8)
    assert image.dtype == torch.uint8
    assert label == digits.train.labels[7]
    assert type(label) is int


def test_mean_and_deviation_are_of_the_training_pixels(digits):
    pixels = digits.train.images[:, 0].double() / 255
    assert digits.mean == pytest.approx([float(pixels.mean())] * 3)
    assert digits.std == pytest.approx([float(pixels.std(unbiased=False))] * 3)


def test_one_channel_and_another_size():
    data = load_data("digits", channels=1, input_size=(16, 12))
    assert data.facts.input_shape == (1, 16, 12)
    assert data.validation.images.shape == (176, 1, 16, 12)
    assert len(data.mean) == 1
    assert data.native_size == (8, 8)


@pytest.mark.parametrize(
    "options",
    [{"channels": 2}, {"channels": 4}, {"input_size": (0, 8)}, {"split_seed": -1}],
)
def test_options_out_of_range(options):
    with pytest.raises(InvalidValueError):
        load_data("digits", **options)


def test_they_need_no_folder():
    with pytest.raises(DataError, match="use digits, not digits:here"):
        load_data("digits:here")
