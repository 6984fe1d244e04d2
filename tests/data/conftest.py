"""Data sets that the tests write in torchvision's own formats on disk, small and known."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bamsearch.data.published import KINDS


def _write_idx(path: Path, values: np.ndarray) -> None:
    """The format of MNIST: two zeros, type 8 (bytes), axes, each axis' length, the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def _grey_images(count: int) -> np.ndarray:
    """28x28 images: every pixel of the n-th is n."""
    return np.tile(np.arange(count, dtype=np.uint8)[:, None, None], (1, 28, 28))


@pytest.fixture
def write_idx() -> Callable[[Path, np.ndarray], None]:
    """``write_idx(path, values)`` writes a file as MNIST has them."""
    return _write_idx


@pytest.fixture
def grey_images() -> Callable[[int], np.ndarray]:
    """``grey_images(count)``: every pixel of the n-th 28x28 image is n."""
    return _grey_images


@pytest.fixture
def set_published(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """``set_published("mnist", 10)``: as if torchvision's test split had 10 images."""

    def change(name: str, images: int) -> None:
        smaller = replace(KINDS[name], test_images=images)
        monkeypatch.setitem(KINDS, name, smaller)

    return change


@pytest.fixture
def fashion(tmp_path: Path, set_published: Callable[[str, int], None]) -> Path:
    """A Fashion-MNIST of 100 training images, ten of each class in turn, and 20 of a test."""
    for part, count in (("train", 100), ("t10k", 20)):
        raw = tmp_path / "FashionMNIST" / "raw"
        _write_idx(raw / f"{part}-images-idx3-ubyte", _grey_images(count))
        _write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    set_published("fashion-mnist", 20)
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """``folder(cat=20, dog=3)``: DIR/cat/00.png …, each of one colour that tells its number."""

    def write(below: str = "", **classes: int) -> Path:
        for label, (name, count) in enumerate(classes.items()):
            target = tmp_path / "own" / below / name
            target.mkdir(parents=True)
            for number in range(count):
                # Blue tells the splits apart: no image is a copy of another.
                colour = (10 * label, number, 200 + len(below))
                Image.new("RGB", (12, 8), colour).save(target / f"{number:02d}.png")
        return tmp_path / "own"

    return write
