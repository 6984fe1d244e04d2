import pytest
import torch

from bamsearch.data import splits
from bamsearch.data.images import Fit
from bamsearch.data.loading import load_data
from bamsearch.data.sources import Source
from bamsearch.data.splits import Data, Split, batches, epoch_order, permutation, stratified
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import DataFacts

FACTS = DataFacts("own", (1, 1, 2), 2, 2, 1, 1, "0" * 16, 0)


def data_of(images: list[list[list[list[int]]]]) -> Data:
    pixels = torch.tensor(images, dtype=torch.uint8)
    source = Source(torch.zeros(len(pixels), dtype=torch.int64), pixels)
    split = Split(source, torch.arange(len(pixels)), Fit(tuple(pixels.shape[1:])))
    return Data(FACTS, ("a", "b"), None, split, split, lambda: split)


def test_mean_and_deviation_by_hand():
    # 0, 255, 255, 0 → 0.5 and 0.5; 51 four times → 0.2 and 0, raised to 1/255
    data = data_of([[[[0, 255]], [[51, 51]]], [[[255, 0]], [[51, 51]]]])
    assert data.mean == pytest.approx([0.5, 0.2])
    assert data.std == pytest.approx([0.5, 1 / 255])


def test_a_split_is_held_up_to_its_limit(monkeypatch):
    images = [[[[0, 1]]]] * 5
    monkeypatch.setattr(splits, "HELD_BYTES", 10)
    assert data_of(images).train.images.shape == (5, 1, 1, 2)
    monkeypatch.setattr(splits, "HELD_BYTES", 9)
    split = data_of(images).train
    assert split.images is None
    assert split[3][0].tolist() == [[[0, 1]]]
    with pytest.raises(DataError, match="do not fit into memory"):
        split.on("cpu")


def test_the_statistics_of_what_is_not_held_are_of_a_sample(monkeypatch):
    monkeypatch.setattr(splits, "HELD_BYTES", 0)
    monkeypatch.setattr(splits, "STATISTICS_IMAGES", 3)
    data = data_of([[[[number * 10, number * 10]]] for number in range(20)])
    read = []
    real = Split.__getitem__

    def spy(self, index):
        read.append(index)
        return real(self, index)

    monkeypatch.setattr(Split, "__getitem__", spy)
    mean = data.mean
    assert data.std == data.std
    assert len(set(read)) == len(read) == 3
    assert mean == pytest.approx([sum(read) * 10 / 3 / 255])


def test_images_are_moved_to_a_device_once():
    split = data_of([[[[0, 1]]]] * 5).train
    first = split.on("meta")
    assert first[0].device.type == first[1].device.type == "meta"
    assert split.on(torch.device("meta"))[0] is first[0]
    assert split.on("cpu")[0].tolist() == split.images.tolist()


def test_a_test_split_is_opened_when_it_is_asked_for():
    opened = []
    held = data_of([[[[0, 1]]]] * 5)
    data = Data(FACTS, ("a", "b"), None, held.train, held.validation, lambda: opened.append(1))
    assert data.mean
    assert opened == []
    data.test()
    assert opened == [1]


def test_a_split_of_files_reads_one_at_a_time(folder, monkeypatch):
    root = folder(cat=5, dog=5)
    monkeypatch.setattr(splits, "HELD_BYTES", 0)
    data = load_data(f"imagefolder:{root}", input_size=(8, 8))
    image, label = data.train[len(data.train) - 1]
    assert label == 1
    assert image[0].unique().tolist() == [10]
    assert data.mean[2] == pytest.approx(200 / 255)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_permutation_has_every_number_once(count):
    assert sorted(permutation(count, 3, 5).tolist()) == list(range(count))


def test_a_permutation_depends_on_every_seed_and_on_nothing_else():
    first = permutation(100, 1, 2).tolist()
    torch.manual_seed(9)
    assert permutation(100, 1, 2).tolist() == first
    others = [permutation(100, *seeds).tolist() for seeds in ((2, 1), (1, 3), (1,), (1, 2, 0))]
    assert first not in others


# 25 of class 0, 9 of class 1, 40 of class 2: a tenth, rounded down, at least one, is 2, 1, 4
LABELS = torch.tensor([0] * 25 + [1] * 9 + [2] * 40)


@pytest.mark.parametrize(
    ("splits", "size"), [(1, [25 - 2, 9 - 1, 40 - 4]), (2, [25 - 4, 9 - 2, 40 - 8])]
)
def test_every_split_has_a_tenth_of_each_class(splits, size):
    parts = stratified(LABELS, splits, seed=0)
    assert LABELS[parts[0]].bincount().tolist() == size
    for part in parts[1:]:
        assert LABELS[part].bincount().tolist() == [2, 1, 4]
    assert sorted(torch.cat(parts).tolist()) == list(range(74))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts)


def test_nothing_is_taken_where_no_split_is_wanted():
    (rest,) = stratified(LABELS, 0, seed=0)
    assert rest.tolist() == list(range(74))


def test_the_seed_decides_which():
    first, again, other = (stratified(LABELS, 1, seed)[1].tolist() for seed in (4, 4, 5))
    assert first == again != other


def test_which_images_a_class_gives_does_not_depend_on_other_classes():
    with_more = torch.cat([LABELS, torch.tensor([2] * 10)])
    taken = stratified(with_more, 1, seed=0)[1]
    same = stratified(LABELS, 1, seed=0)[1]
    assert taken[taken < 34].tolist() == same[same < 34].tolist()


def numbered(count: int) -> Split:
    """The n-th image is one pixel of the value n, and its label is n too."""
    numbers = torch.arange(count)
    pixels = numbers.to(torch.uint8).reshape(count, 1, 1, 1)
    return Split(Source(numbers, pixels), torch.arange(count), Fit((1, 1, 1)))


def order(split: Split, size: int = 7, seed=0, epoch=0, workers=0) -> list[int]:
    result = []
    rows = epoch_order(len(split), seed, epoch)
    for images, labels in batches(split, size, rows, workers=workers):
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert images.flatten().tolist() == labels.tolist()
        result += labels.tolist()
    return result


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


def test_a_given_order():
    result = batches(numbered(20), 2, torch.tensor([3, 19, 5]))
    assert [labels.tolist() for _, labels in result] == [[3, 19], [5]]


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (2, 1, [1, 1])],
)
def test_the_last_batch_is_as_small_as_it_comes(count, size, sizes):
    result = batches(numbered(count), size, torch.arange(count))
    assert [len(labels) for _, labels in result] == sizes


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
    meta = torch.device("meta")
    images, labels = next(batches(numbered(5), 2, torch.arange(5), device=meta))
    assert images.device.type == labels.device.type == "meta"
    assert (images.shape, labels.shape) == ((2, 1, 1, 1), (2,))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_file_is_one_line(folder, monkeypatch, workers):
    root = folder(cat=10, dog=10)
    monkeypatch.setattr(splits, "HELD_BYTES", 0)
    data = load_data(f"imagefolder:{root}", input_size=(8, 8))
    for path in root.glob("cat/*.png"):
        path.write_bytes(b"spoilt")
    with pytest.raises(DataError, match=r"^/.*\.png is not a readable image") as raised:
        for _ in batches(data.train, 4, torch.arange(len(data.train)), workers=workers):
            pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"seed": -1}, {"epoch": -1}, {"seed": 2**32}, {"size": 1.5}]
)
def test_numbers_out_of_range(options):
    with pytest.raises(InvalidValueError):
        order(numbered(5), **options)
