import pytest

from bamsearch.data.kinds import KINDS, find_kind
from bamsearch.data.loading import load_data
from bamsearch.errors import DataError


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_found_by_either_name(name):
    assert find_kind(name) == find_kind(KINDS[name].cls) == find_kind(name.upper()) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fashon-mnist:d", "no data is called 'fashon-mnist': did you mean fashion-mnist"),
        ("cifar:d", "did you mean cifar10"),
        ("CIFAR11:d", "did you mean cifar10"),
        ("digit", "did you mean digits"),
        ("image-folders:d", "did you mean imagefolder"),
        ("xyzzy", "choose from digits, imagefolder, mnist"),
        ("", "no data is called ''"),
        (":d", "no data is called ''"),
        ("voc-detection:d", "torchvision's VOCDetection is not supported.*imagefolder:DIR"),
        ("CocoCaptions:d", "torchvision's CocoCaptions is not supported"),
        ("ucf101:d", "torchvision's UCF101 is not supported"),
        ("pcam:d", "torchvision's PCAM is not supported"),
        ("fashion-mnist", "fashion-mnist needs a folder: use fashion-mnist:DIR"),
        ("CIFAR10:", "CIFAR10 needs a folder: use cifar10:DIR"),
        ("imagefolder", "use imagefolder:DIR"),
    ],
)
def test_a_name_that_does_not_do(name, words):
    with pytest.raises(DataError, match=words) as raised:
        load_data(name)
    assert "\n" not in str(raised.value)


def test_a_bare_folder(tmp_path):
    with pytest.raises(DataError, match=f"use imagefolder:{tmp_path}"):
        load_data(str(tmp_path))
