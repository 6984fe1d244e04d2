"""The handwritten digits of scikit-learn, which need no download."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from bamsearch.data.sources import DatasetSource, Source

_HIGHEST = 16
"""Value of a black pixel in scikit-learn's digits."""


def open_digits() -> DatasetSource:
    """1,797 grey 8x8 images of ten digits, scaled from 0..16 to 0..255, for all splits."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / _HIGHEST)).astype(np.uint8)
    source = Source(torch.from_numpy(digits.target).long(), torch.from_numpy(pixels)[:, None])
    return DatasetSource("digits", tuple(map(str, range(10))), (8, 8), source)
