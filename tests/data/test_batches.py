import pytest
import torch

from bamsearch.data import splits
from bamsearch.data.batches import batches
from bamsearch.data.images import Fit
from bamsearch.data.loading import load_data
from bamsearch.data.sources import Source
from bamsearch.data.splits import Split
from bamsearch.errors import DataError, InvalidValueError


def numbered(count: int) -> Split:
    """The n-th image is one pixel of the value n, and its label is n too."""
    numbers = torch.arange(count)
    pixels = numbers.to(torch.uint8).reshape(count, 1, 1, 1)
    return Split(Source(numbers, pixels), torch.arange(count), Fit((1, 1, 1)))


def order(split: Split, size: int = 7, **options) -> list[int]:
    given = {"seed": 0, "epoch": 0, "shuffle": True} | options
    found = []
    for images, labels in batches(split, size, **given):
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert images.flatten().tolist() == labels.tolist()
        found += labels.tolist()
    return found


def test_every_image_comes_once():
    shuffled = order(numbered(100))
    assert sorted(shuffled) == list(range(100))
    assert shuffled != list(range(100))


def test_the_order_is_that_of_seed_and_epoch():
    first = order(numbered(100), seed=3, epoch=5)
    torch.manual_seed(1)
    assert order(numbered(100), size=11, seed=3, epoch=5) == first
    others = [order(numbered(100), seed=s, epoch=e) for s, e in ((3, 6), (4, 5), (5, 3))]
    assert first not in others


def test_the_splits_own_order():
    assert order(numbered(20), shuffle=False, epoch=3) == list(range(20))


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (2, 1, [1, 1])],
)
def test_the_last_batch_is_as_small_as_it_comes(count, size, sizes):
    found = batches(numbered(count), size, seed=0, epoch=0, shuffle=True)
    assert [len(labels) for _, labels in found] == sizes


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_not_held_comes_in_the_same_order(monkeypatch, workers):
    held = order(numbered(50), seed=2, epoch=1)
    monkeypatch.setattr(splits, "HELD_BYTES", 0)
    assert order(numbered(50), seed=2, epoch=1, workers=workers) == held


def test_the_trainers_random_numbers_are_left_alone(monkeypatch):
    for limit in (0, 1000):
        monkeypatch.setattr(splits, "HELD_BYTES", limit)
        before = torch.get_rng_state()
        order(numbered(20))
        assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_on_the_device():
    images, labels = next(
        batches(numbered(5), 2, seed=0, epoch=0, shuffle=False, device=torch.device("meta"))
    )
    assert images.device.type == labels.device.type == "meta"
    assert (images.shape, labels.shape) == ((2, 1, 1, 1), (2,))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_spoilt_file_is_one_line(folder, monkeypatch, workers):
    own = folder(cat=10, dog=10)
    monkeypatch.setattr(splits, "HELD_BYTES", 0)
    data = load_data(f"imagefolder:{own}", input_size=(8, 8))
    for path in own.glob("cat/*.png"):
        path.write_bytes(b"spoilt")
    with pytest.raises(DataError, match=r"^/.*\.png is not a readable image") as raised:
        for _ in batches(data.train, 4, seed=0, epoch=0, shuffle=True, workers=workers):
            pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"seed": -1}, {"epoch": -1}, {"seed": 2**32}, {"size": 1.5}]
)
def test_numbers_out_of_range(options):
    given = {"size": 4, "seed": 0, "epoch": 0, "shuffle": True} | options
    with pytest.raises(InvalidValueError):
        batches(numbered(5), given.pop("size"), **given)
