"""Copies of an image: in which splits they are, and what the hash of a folder is over."""

import shutil
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from bamsearch.data import duplicates
from bamsearch.data.loading import load_data, same_data
from bamsearch.errors import DataError


def picture(number: int, size: tuple[int, int] = (6, 9)) -> Image.Image:
    """A picture of random pixels, H x W."""
    pixels = np.random.RandomState(number).randint(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def write(tmp_path):
    """``write("train/cat/a.png", picture)`` below a folder, which is returned."""

    def save(name, image, **options):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
        return tmp_path / "own"

    return save


@pytest.fixture
def classes(write):
    """``classes("train", 10)``: two classes of ten different pictures."""

    def save(below, count, start=0):
        for number in range(count):
            for offset, name in ((0, "cat"), (500, "dog")):
                image = write(f"{below}/{name}/{number:02d}.png", picture(start + offset + number))
        return image

    return save


# Turned clockwise by a quarter when it is shown.
EXIF = Image.Exif()
EXIF[0x0112] = 6

GREY = picture(5).convert("L")
COPIES = {
    "renamed": ("b.png", picture(5), {}),
    "other format": ("00.bmp", picture(5), {}),
    "turned by EXIF": ("b.png", picture(5).transpose(Image.Transpose.ROTATE_90), {"exif": EXIF}),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_test_image_that_is_a_training_image_is_refused(classes, write, copy):
    classes("train", 10)
    root = classes("test", 2, start=50)
    assert load_data(f"imagefolder:{root}").facts.test == 4
    name, image, options = COPIES[copy]
    write(f"test/dog/{name}", image, **options)
    with pytest.raises(DataError) as raised:
        load_data(f"imagefolder:{root}")
    assert str(raised.value) == (
        f"{root}/test/dog/{name} and {root}/train/cat/05.png are in two splits but have the same "
        "pixels (copies in total: 1): delete the copies in one of the splits"
    )


def test_grey_as_one_channel_and_as_three_is_one_picture(classes, write):
    classes("train", 10)
    root = write("train/cat/grey.png", GREY)
    classes("val", 2, start=50)
    write("val/cat/grey.bmp", GREY.convert("RGB"))
    with pytest.raises(DataError, match=r"val/cat/grey\.bmp and .*train/cat/grey\.png are"):
        load_data(f"imagefolder:{root}")


def test_a_pixel_or_the_shape_makes_another_picture(classes, write):
    classes("train", 10)
    other = picture(5)
    other.putpixel((0, 0), tuple(255 - value for value in other.getpixel((0, 0))))
    write("test/cat/pixel.png", other)
    root = write("test/dog/shape.png", Image.frombytes("RGB", (6, 9), picture(5).tobytes()))
    assert load_data(f"imagefolder:{root}").facts.test == 2


def test_all_copies_are_counted(classes, write):
    classes("train", 10)
    root = classes("test", 3)
    with pytest.raises(DataError, match=r"copies in total: 6\)"):
        load_data(f"imagefolder:{root}")


def test_copies_within_a_split_are_harmless(classes, write):
    classes("train", 10)
    classes("val", 2, start=50)
    root = classes("test", 2, start=70)
    for part, number in (("train", 3), ("test", 70)):
        write(f"{part}/cat/copy.bmp", picture(number))
    facts = load_data(f"imagefolder:{root}").facts
    assert (facts.train, facts.validation, facts.test) == (21, 4, 5)


def splits_of(root, seed=0, **options):
    data = load_data(f"imagefolder:{root}", split_seed=seed, **options)
    return {"train": data.train, "validation": data.validation, "test": data.test()}


def names_in(split) -> list[str]:
    files = [split._source.files[row] for row in split._indices.tolist()]
    return [f"{file.parent.name}/{file.name}" for file in files]


def test_copies_are_drawn_into_one_split(classes, write):
    classes(".", 20)
    copies = {"cat/03.png": 3, "cat/04.png": 4, "dog/05.png": 505}
    groups = defaultdict(set)
    for name, number in copies.items():
        groups[name] |= {name}
        for copy in range(4):
            # One of them is in the other class.
            folder = name[:3] if copy else {"cat": "dog", "dog": "cat"}[name[:3]]
            other = f"{folder}/copy{number}-{copy}.{'bmp' if copy % 2 else 'png'}"
            copied = write(other, picture(number))
            groups[name].add(other)
    where = set()
    for seed in range(12):
        splits = splits_of(copied, seed)
        names = {part: set(names_in(split)) for part, split in splits.items()}
        assert sum(map(len, names.values())) == 40 + 12
        for group in groups.values():
            (holder,) = [part for part, held in names.items() if held & group]
            assert group <= names[holder]
            where.add(holder)
        assert all(len(split.labels.unique()) == 2 for split in splits.values())
    assert where == {"train", "validation", "test"}


def drawn_by_hand(labels: np.ndarray, seed: int) -> list[list[int]]:
    """The splits as they were drawn before copies were looked for."""
    parts: list[list[int]] = [[], [], []]
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        members = members[np.random.RandomState([seed, label]).permutation(len(members))]
        size = max(len(members) // 10, 1)
        parts[1] += members[:size].tolist()
        parts[2] += members[size : 2 * size].tolist()
        parts[0] += members[2 * size :].tolist()
    return [sorted(part) for part in parts]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_without_copies_the_splits_are_what_they_were(classes, write, seed):
    root = classes(".", 25)
    splits = splits_of(root, seed)
    labels = np.repeat([0, 1], 25)
    assert [split._indices.tolist() for split in splits.values()] == drawn_by_hand(labels, seed)


def test_a_class_needs_different_images(classes, write):
    root = classes(".", 5)
    for number in range(3):
        write(f"owl/{number}.png", picture(700))
    with pytest.raises(
        DataError,
        match=r"fewer than 3 different images, too few to draw validation and test splits: owl",
    ):
        load_data(f"imagefolder:{root}")


# The hash.


def test_pixels_that_are_replaced_change_the_hash(classes, write):
    root = classes(".", 10)
    write("cat/a.bmp", picture(300))
    before = load_data(f"imagefolder:{root}").facts
    size = (root / "cat" / "a.bmp").stat().st_size
    write("cat/a.bmp", picture(301))
    assert (root / "cat" / "a.bmp").stat().st_size == size
    after = load_data(f"imagefolder:{root}").facts
    assert before.hash.startswith("c:")
    assert len(before.hash) == 18
    assert after.hash != before.hash
    assert not same_data(after, before)
    write("cat/a.bmp", picture(300))
    assert load_data(f"imagefolder:{root}").facts == before


def old_hash(root, seed=0) -> str:
    """A hash as records before hashes over contents have it: over names and sizes."""
    result = load_data(f"imagefolder:{root}", split_seed=seed, contents=False).facts.hash
    assert not result.startswith("c:")
    return result


def test_an_old_hash_is_sha256_over_names_and_sizes(write):
    """Pinned at the version before: hashes in records must stay what they are."""
    for number in range(3):
        for name in ("cat", "dog"):
            path = write(f"{name}/{number}.png", picture(0)) / name / f"{number}.png"
            path.write_bytes(b"x" * (number + 1))
    assert old_hash(path.parents[1]) == "645d4b6f09276a62"


def test_an_old_record_is_continued_with_its_hash(classes):
    root = classes(".", 10)
    old, new = old_hash(root), load_data(f"imagefolder:{root}").facts
    again = load_data(f"imagefolder:{root}", recorded=old)
    assert again.facts.hash == old
    assert same_data(new, again.facts)
    assert same_data(again.facts, again.facts)
    assert not same_data(again.facts, new)


def test_other_data_than_those_of_an_old_record_have_a_hash_over_contents(classes, write):
    root = classes(".", 10)
    old = load_data(f"imagefolder:{root}", contents=False).facts
    write("cat/more.png", picture(90))
    data = load_data(f"imagefolder:{root}", recorded=old.hash)
    assert data.facts == load_data(f"imagefolder:{root}").facts
    assert not same_data(data.facts, old)


def test_an_old_record_with_copies_across_its_drawn_splits_is_refused(classes, write):
    root = classes(".", 20)
    for number in range(20):
        write(f"cat/copy{number}.png", picture(number))
    old = load_data(f"imagefolder:{root}", contents=False).facts
    with pytest.raises(DataError, match=r"start a new run, which keeps copies in one split$"):
        load_data(f"imagefolder:{root}", recorded=old.hash)
    assert not same_data(load_data(f"imagefolder:{root}").facts, old)


def test_pixels_are_compared_once_for_a_record(classes, write, monkeypatch):
    root = classes(".", 10)
    facts = load_data(f"imagefolder:{root}").facts
    with monkeypatch.context() as patched:
        patched.setattr(
            duplicates, "read_photograph", lambda path: pytest.fail("an image was read")
        )
        assert load_data(f"imagefolder:{root}", recorded=facts.hash).facts == facts
    # Where copies moved an image, they have to be looked for again, with the same answer.
    for number in range(10):
        write(f"cat/copy{number}.png", picture(number))
    moved = load_data(f"imagefolder:{root}").facts
    assert load_data(f"imagefolder:{root}", recorded=moved.hash).facts == moved


def test_a_folder_elsewhere_has_the_same_splits(classes, write):
    root = classes(".", 20)
    write("dog/copy.bmp", picture(3))
    shutil.copytree(root, root.parent / "copy")
    first, second = splits_of(root), splits_of(root.parent / "copy")
    for part, split in first.items():
        assert torch.equal(split._indices, second[part]._indices)
