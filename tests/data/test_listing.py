"""Listing a folder of images: in torchvision's order, and never a whole disk."""

import logging
import os
import re

import pytest
from torchvision.datasets import ImageFolder

from bamsearch.data import listing
from bamsearch.data.folders import open_folder
from bamsearch.data.listing import class_files, class_names
from bamsearch.data.ticker import Ticker
from bamsearch.errors import DataError


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


def test_what_is_no_folder_of_images_is_noticed_early(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "OTHERS", 20)
    touch(tmp_path, *(f"bin/{number}" for number in range(30)), "bin/a.png", "usr/b.png")
    read = []
    entries = listing._entries
    monkeypatch.setattr(listing, "_entries", lambda folder: read.append(folder) or entries(folder))
    with pytest.raises(DataError) as caught:
        open_folder(tmp_path)
    told = (
        rf"{tmp_path} is not a folder of images: only [01] of the first 2[12] entries are images; "
    )
    assert re.match(told, str(caught.value))
    assert f"{tmp_path / 'usr'}" not in read


def test_annotations_beside_images_are_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "OTHERS", 20)
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
