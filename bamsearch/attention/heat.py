"""Attention maps of one photograph as values that can be drawn, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

LEAST_SPAN = 0.02
"""Least width of a scale: smaller differences are not blown up to look like something."""


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One BAM's maps for one photograph, all of them after the sigmoid.

    Attributes:
        shape: of the feature map, as text.
        settings: r, d and gate, as text.
        m_c: (C,).
        m_s: (H, W).
        m: (H, W), M's mean over its channels.
    """

    shape: str
    settings: str
    m_c: np.ndarray
    m_s: np.ndarray
    m: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A network's part of a sheet.

    Attributes:
        label: what to call it.
        about: model, weights and how BAM starts, in one line.
        warning: what a reader must know before believing the maps; "" for nothing.
        picture: the photograph as this network sees it.
        heats: site → its maps.
    """

    label: str
    about: str
    warning: str
    picture: Image.Image
    heats: dict[str, Heat]


def spread(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map over the picture that it belongs to, between its cells bilinear.

    Cells tile the picture: cell (i, j) of an H x W map is at its own H-th and W-th part.

    Args:
        values: (H, W).
        size: width and height of the picture, as Pillow has it.

    Returns:
        Float32 (height, width).
    """
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def scale_of(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """The ends of one colour scale for several maps, :data:`LEAST_SPAN` apart or more."""
    low = min(float(values.min()) for values in maps)
    high = max(float(values.max()) for values in maps)
    short = max(LEAST_SPAN - (high - low), 0.0) / 2
    return low - short, high + short


def pale(picture: Image.Image) -> Image.Image:
    """A picture in light greys: what a heat map is laid over has no colour of its own."""
    return picture.convert("L").point(lambda value: 40 + value * 215 / 255)
