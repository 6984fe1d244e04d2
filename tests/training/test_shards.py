"""Which images a process sees, and in which order."""

import pytest
import torch

from bamsearch.data.loading import load_data
from bamsearch.data.splits import batches, epoch_order
from bamsearch.training.shards import readers, steps_of, training_batches, validation_batches


def labels_and_pixels(result) -> list[tuple[list[int], int]]:
    return [(labels.tolist(), int(images.long().sum())) for images, labels in result]


def test_an_epoch_is_the_whole_batches_of_the_data(digits):
    order = epoch_order(len(digits.train), 3, 1)
    # 1,445 images: the last 45 are left out.
    expected = labels_and_pixels(batches(digits.train, 100, order))[:-1]
    assert len(expected) == steps_of(digits.train, 100) == 14
    assert labels_and_pixels(training_batches(digits.train, 100, seed=3, epoch=1)) == expected


def test_what_is_left_of_an_epoch_is_its_end(digits):
    whole = labels_and_pixels(training_batches(digits.train, 100, seed=3, epoch=1))
    rest = training_batches(digits.train, 100, seed=3, epoch=1, first=5)
    assert labels_and_pixels(rest) == whole[5:]


def test_two_processes_see_halves_of_the_same_batches(digits):
    whole = list(training_batches(digits.train, 64, seed=0, epoch=0))
    halves = [
        list(training_batches(digits.train, 64, seed=0, epoch=0, rank=rank, world=2))
        for rank in range(2)
    ]
    for (images, labels), *parts in zip(whole, *halves, strict=True):
        for rank, (own_images, own_labels) in enumerate(parts):
            assert torch.equal(own_images, images[rank::2])
            assert torch.equal(own_labels, labels[rank::2])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_validation_image_is_seen_once(digits, world):
    split = digits.validation
    seen = [
        labels
        for rank in range(world)
        for _, labels in validation_batches(split, 50, rank=rank, world=world)
    ]
    assert torch.equal(torch.cat(seen).bincount(), split.labels.bincount())


def test_fewer_images_than_a_batch_are_one_step(digits):
    assert steps_of(digits.train, 10_000) == 1
    (batch,) = training_batches(digits.train, 10_000, seed=0, epoch=0)
    assert len(batch[1]) == len(digits.train)


@pytest.mark.parametrize("processes", [0, 1])
def test_files_that_are_not_held_come_in_the_same_order(digits, monkeypatch, processes):
    monkeypatch.setattr("bamsearch.data.splits.HELD_BYTES", 0)
    monkeypatch.setattr("bamsearch.training.shards.readers", lambda split, world: processes)
    split = load_data("digits").train
    assert split.images is None
    for others in ({}, {"first": 2}, {"rank": 1, "world": 2}):
        result = list(training_batches(split, 400, seed=1, epoch=2, **others))
        held = training_batches(digits.train, 400, seed=1, epoch=2, **others)
        for (images, labels), (held_images, held_labels) in zip(result, held, strict=True):
            assert torch.equal(images, held_images)
            assert torch.equal(labels, held_labels)


def test_what_is_held_needs_no_reader(digits, monkeypatch):
    assert readers(digits.train, 1) == 0
    monkeypatch.setattr("bamsearch.data.splits.HELD_BYTES", 0)
    split = load_data("digits").train
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert [readers(split, world) for world in (1, 8, 64)] == [8, 7, 0]
