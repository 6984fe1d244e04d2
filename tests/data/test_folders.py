import logging
import os
import re

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from bamsearch.data import folders
from bamsearch.data.folders import class_files, class_names, open_folder
from bamsearch.data.loading import load_data
from bamsearch.data.ticker import Ticker
from bamsearch.errors import DataError


def test_only_classes_are_split_by_the_seed(folder):
    root = folder(cat=20, dog=30)
    data = load_data(f"imagefolder:{root}", input_size=(8, 8))
    assert data.class_names == ("cat", "dog")
    assert data.native_size is None
    assert data.train.labels.bincount().tolist() == [16, 24]
    assert data.validation.labels.bincount().tolist() == [2, 3]
    assert data.test().labels.bincount().tolist() == [2, 3]
    seen = set()
    for split in (data.train, data.validation, data.test()):
        # red is ten times the label, green the number of the file
        assert torch.equal(split.images[:, 0, 4, 4].long(), 10 * split.labels)
        seen |= set(zip(split.labels.tolist(), split.images[:, 1, 4, 4].tolist(), strict=True))
    assert seen == {(0, n) for n in range(20)} | {(1, n) for n in range(30)}
    other = load_data(f"imagefolder:{root}", input_size=(8, 8), split_seed=1)
    assert not torch.equal(other.validation.images, data.validation.images)


def test_the_default_input_is_224(folder):
    data = load_data(f"imagefolder:{folder(cat=3, dog=3)}")
    assert data.facts.input_shape == (3, 224, 224)
    assert data.train[0][0].shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({"train": 10, "val": 4, "test": 2}, (20, 8, 4)),
        ({"train": 10, "validation": 4, "test": 2}, (20, 8, 4)),
        ({"train": 10, "val": 4}, (18, 8, 2)),
        ({"train": 10, "test": 2}, (18, 2, 4)),
        ({"train": 10}, (16, 2, 2)),
    ],
)
def test_folders_are_splits_and_what_is_missing_is_taken_from_train(folder, parts, sizes):
    for part, count in parts.items():
        root = folder(below=part, cat=count, dog=count)
    data = load_data(f"imagefolder:{root}")
    assert (data.facts.train, data.facts.validation, data.facts.test) == sizes
    assert len(data.test()) == sizes[2]


def test_a_class_may_be_called_train(folder):
    data = load_data(f"imagefolder:{folder(bus=5, train=5)}")
    assert data.class_names == ("bus", "train")


def test_an_image_is_not_read_for_what_is_known_of_a_folder(folder, monkeypatch):
    root = folder(cat=4, dog=4)
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("an image was read"))
    data = load_data(f"imagefolder:{root}", contents=False)
    assert data.facts.train == 4
    data.test()


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"cat": 20, "dog": 0}, "no image of class dog: add images, or remove the class"),
        ({"cat": 0, "cow": 0, "dog": 9}, "no image of classes cat, cow"),
        ({"cat": 20}, "only one class, cat"),
        (
            {"cat": 20, "dog": 2},
            "fewer than 3 images, too few to draw validation and test splits: dog",
        ),
        (
            {"cat": 0, "dog": 0},
            "has no images in its folders: supported formats are jpg, jpeg, png",
        ),
        ({f"c{n}": 0 for n in range(8)} | {"d": 3}, "c0, c1, c2, c3, c4 and 3 more"),
    ],
)
def test_classes_that_do_not_do(folder, classes, words):
    with pytest.raises(DataError, match=words) as raised:
        load_data(f"imagefolder:{folder(**classes)}")
    assert "\n" not in str(raised.value)


def test_splits_with_different_classes(folder):
    folder(below="train", cat=5, dog=5)
    root = folder(below="val", cat=5, cow=5)
    with pytest.raises(DataError, match="different classes: only one has cow, dog"):
        load_data(f"imagefolder:{root}")


def test_an_empty_class_of_the_test_split(folder):
    folder(below="train", cat=5, dog=5)
    root = folder(below="test", cat=5, dog=0)
    with pytest.raises(DataError, match="the test split of imagefolder has no image of class dog"):
        load_data(f"imagefolder:{root}")


def test_two_validation_splits(folder):
    for part in ("train", "val", "valid"):
        root = folder(below=part, cat=3, dog=3)
    with pytest.raises(DataError, match="has val and valid: keep one"):
        load_data(f"imagefolder:{root}")


def test_no_folders(tmp_path):
    with pytest.raises(DataError, match=f"no folder {tmp_path}/none"):
        load_data(f"imagefolder:{tmp_path}/none")
    with pytest.raises(DataError, match="contains no folders"):
        load_data(f"imagefolder:{tmp_path}")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="no folder"):
        load_data(f"imagefolder:{tmp_path}/a.png")


def test_there_is_nothing_to_download(folder):
    with pytest.raises(DataError, match="omit `download`"):
        load_data(f"imagefolder:{folder(cat=3, dog=3)}", download=True)


def test_files_that_are_not_images_are_counted_and_named(folder):
    root = folder(cat=10, dog=10)
    data = load_data(f"imagefolder:{root}")
    for name in ("cat", "dog"):
        for number in range(10):
            (root / name / f"{number:02d}.png").write_bytes(b"spoilt")
    with pytest.raises(
        DataError, match=r"16 of 16 images cannot be read \(unreadable images are never skipped\)"
    ) as raised:
        _ = data.train.images
    assert "00.png" in str(raised.value) or "01.png" in str(raised.value)
    assert "and 11 more" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"20 of 20 .* and 15 more; repair or remove them$"):
        load_data(f"imagefolder:{root}")


def test_other_files_are_left_out(folder):
    root = folder(cat=3, dog=3)
    (root / "cat" / "notes.txt").write_text("miaow")
    (root / "list.csv").write_text("")
    assert load_data(f"imagefolder:{root}").facts.train == 2


def test_home_is_found(folder, monkeypatch):
    root = folder(cat=3, dog=3)
    monkeypatch.setenv("HOME", str(root.parent))
    assert load_data("imagefolder:~/own").facts.classes == 2


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_order_is_torchvisions(tmp_path):
    names = ("1.png", "10.JPG", "2.webp", "a/1.png", "a.b/3.tif", "a/b/1.bmp", "Z/0.ppm", "x.txt")
    touch(tmp_path, *(f"{label}/{name}" for label in ("B", "a", "ä", "c d") for name in names))
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    classes = class_names(tmp_path)
    expected = ImageFolder(tmp_path)
    assert classes == expected.classes
    assert list(class_files(tmp_path, classes)) == expected.samples
    assert len(expected.samples) == 5 * 7


def test_a_link_back_is_listed_once(tmp_path):
    touch(tmp_path, "cat/1.png", "cat/more/2.png", "dog/1.png")
    (tmp_path / "cat/more/back").symlink_to(tmp_path / "cat")
    (tmp_path / "dog/self").symlink_to(".")
    files = [os.path.relpath(file, tmp_path) for file, _ in class_files(tmp_path, ["cat", "dog"])]
    assert files == ["cat/1.png", "cat/more/2.png", "dog/1.png"]


def test_what_is_not_a_folder_of_images_is_noticed_early(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "OTHERS", 20)
    touch(tmp_path, *(f"bin/{number}" for number in range(30)), "bin/a.png", "usr/b.png")
    read = []
    entries = folders._entries
    monkeypatch.setattr(folders, "_entries", lambda folder: read.append(folder) or entries(folder))
    with pytest.raises(DataError) as caught:
        open_folder(tmp_path)
    message = (
        rf"{tmp_path} is not a folder of images: only [01] of the first 2[12] entries are images; "
    )
    assert re.match(message, str(caught.value))
    assert f"{tmp_path / 'usr'}" not in read


def test_annotations_beside_images_are_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "OTHERS", 20)
    touch(tmp_path, *(f"cat/{n}.{end}" for n in range(30) for end in ("png", "txt", "json", "xml")))
    assert len(list(class_files(tmp_path, ["cat"]))) == 30


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "cat/1.png")

    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cat cannot be read \(Permission denied\): change its"):
        list(class_files(tmp_path, ["cat"]))


def test_long_work_says_how_far_it_is(caplog):
    now = [0.0]
    log = logging.getLogger("bamsearch.data.test")
    tick = Ticker(log, "listing DIR", "files", clock=lambda: now[0])
    with caplog.at_level(logging.INFO):
        for second in range(24):
            now[0] = second * 0.75
            tick(1000 * second)
        Ticker(log, "reading DIR", "images", 50_000, clock=lambda: now[0])(3)
    assert caplog.messages == ["listing DIR: 3,000 files", "listing DIR: 17,000 files"]
