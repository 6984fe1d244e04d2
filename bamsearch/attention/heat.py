"""Attention maps of a photograph, ready to be drawn, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

LEAST_SPAN = 0.02
"""Minimum width of a colour scale, so that negligible differences are not exaggerated."""


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Maps of a BAM for a photograph, after the sigmoid.

    Attributes:
        shape: shape of the feature map, as text.
        settings: r, d and gate, as text.
        m_c: M_c, (C,).
        m_s: M_s, (H, W).
        m: mean of M over the channels, (H, W).
    """

    shape: str
    settings: str
    m_c: np.ndarray
    m_s: np.ndarray
    m: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class SheetColumn:
    """A network's column in a contact sheet.

    Attributes:
        label: name of the network.
        about: model, weights and initialisation of BAM, in one line.
        warning: caveat about the validity of the maps; "" for none.
        picture: the photograph as this network sees it.
        heats: maps by site.
    """

    label: str
    about: str
    warning: str
    picture: Image.Image
    heats: dict[str, Heat]


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map to its picture with bilinear interpolation.

    Cells tile the picture: cell (i, j) of an H x W map covers row i of H and column j of W.

    Args:
        values: the map, (H, W).
        size: (width, height) of the picture.

    Returns:
        Float32 (height, width).
    """
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def scale_of(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Limits of a common colour scale for several maps, at least :data:`LEAST_SPAN` apart."""
    low = min(float(values.min()) for values in maps)
    high = max(float(values.max()) for values in maps)
    short = max(LEAST_SPAN - (high - low), 0.0) / 2
    return low - short, high + short


def pale(picture: Image.Image) -> Image.Image:
    """Convert a picture to light greys, as a neutral background of a heat map."""
    return picture.convert("L").point(lambda value: 40 + value * 215 / 255)
