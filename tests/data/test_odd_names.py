"""Folders and image files whose names are not UTF-8, or hold control characters."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bamsearch.data.loading import load_data
from bamsearch.errors import DataError

CLASSES = [b"caf\xe9", b"\x1b[31mred", "\u202ertl".encode(), b"=cmd|x"]


@pytest.fixture
def odd(tmp_path) -> Path:
    """Four images for each of four classes, none alike."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        path = os.path.join(os.fsencode(tmp_path), b"im\xffg", name)
        os.makedirs(path)
        for number in range(4):
            image = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            with open(os.path.join(path, b"\xff%d\n.png" % number), "wb") as file:
                image.save(file, "PNG")
    return Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"im\xffg")))


def test_they_are_listed_hashed_and_split(odd):
    data = load_data(f"imagefolder:{odd}", input_size=(8, 8))
    assert data.class_names == tuple(sorted(map(os.fsdecode, CLASSES)))
    assert (data.facts.train, data.facts.validation) == (8, 4)
    assert data.facts.hash == load_data(f"imagefolder:{odd}", input_size=(8, 8)).facts.hash


def test_a_name_is_in_the_hash(odd):
    before = load_data(f"imagefolder:{odd}", input_size=(8, 8)).facts.hash
    folder = os.path.join(os.fsencode(odd), CLASSES[0])
    os.rename(os.path.join(folder, b"\xff0\n.png"), os.path.join(folder, b"\xfe0\n.png"))
    assert load_data(f"imagefolder:{odd}", input_size=(8, 8)).facts.hash != before


def test_a_corrupt_image_is_named(odd):
    with open(os.path.join(os.fsencode(odd), CLASSES[1], b"\xffbad\x1b.png"), "wb") as file:
        file.write(b"abc")
    with pytest.raises(DataError, match="1 of 17 images cannot be read"):
        load_data(f"imagefolder:{odd}", input_size=(8, 8))


def test_the_command_line_shows_their_bytes(odd, bamsearch_cli):
    with open(os.path.join(os.fsencode(odd), CLASSES[1], b"\xffbad\x1b.png"), "wb") as file:
        file.write(b"abc")
    line = ["train", "bamsearch.examples:resnet20", "--data", f"imagefolder:{odd}", "--dry-run"]
    result = bamsearch_cli(*line)
    assert result.exit_code == 2
    assert r"im\xffg/\x1b[31mred/\xffbad\x1b.png; repair" in result.stderr
    assert "\x1b" not in result.stderr
