"""The handwritten digits that come with scikit-learn (``scikit_learn``), and need no download."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from bamsearch.data.sources import Opened, Source

_HIGHEST = 16
"""Value of a black pixel there."""


def open_digits() -> Opened:
    """1,797 grey 8x8 images of ten digits, from 0..16 to 0..255; all splits are taken from them."""
    found = load_digits()
    pixels = np.rint(found.images * (255 / _HIGHEST)).astype(np.uint8)
    source = Source(torch.from_numpy(found.target).long(), torch.from_numpy(pixels)[:, None])
    return Opened("digits", tuple(map(str, range(10))), (8, 8), source)
