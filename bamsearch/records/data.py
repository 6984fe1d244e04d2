"""What is known of a data set: enough to tell whether two results are of the same images."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records.hints import Natural, Positive


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A labelled data set, split in three and brought to a network's input.

    Attributes:
        name: as given to ``--data``: ``digits``, ``fashion-mnist:DIR``.
        input_shape: C, H, W of what networks get. One-channel images are repeated to three for
            C = 3; colour becomes grey for C = 1.
        classes: how many there are.
        train: images in the training split.
        validation: images in the validation split.
        test: images in the test split; of an official one the number that is published.
        hash: 16 hex digits of SHA-256 over the kind of data, the names of the classes, the split
            seed and, for each split in order, its labels and its content: the pixels as they are
            stored, before any resizing, where the set comes as arrays; relative path and size in
            bytes of each file, where a published set comes as files; relative path and SHA-256 of
            each file of a user's folder, whose hash starts with ``c:``. (Without it the record is
            old, and the folder counted by paths and sizes.) Of a published set's test split only
            the number of images is in it, as nothing of that is read before it is asked for. The
            folder, the input size and the channels are not in it.
        split_seed: of what was drawn from the training images for the other splits.
    """

    name: str
    input_shape: tuple[Positive, Positive, Positive]
    classes: Positive
    train: Natural
    validation: Natural
    test: Natural
    hash: str
    split_seed: int
