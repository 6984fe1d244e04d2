import pytest
import torch

from bamsearch.data import splits
from bamsearch.data.images import Fit
from bamsearch.data.loading import load_data
from bamsearch.data.sources import Source
from bamsearch.data.splits import Data, Split
from bamsearch.errors import DataError
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
    own = folder(cat=5, dog=5)
    monkeypatch.setattr(splits, "HELD_BYTES", 0)
    data = load_data(f"imagefolder:{own}", input_size=(8, 8))
    image, label = data.train[len(data.train) - 1]
    assert label == 1
    assert image[0].unique().tolist() == [10]
    assert data.mean[2] == pytest.approx(200 / 255)
