"""Contact sheets: the attention maps of a photograph, for one network or several side by side.

There is one row per site: M_s and M as heat maps over the photograph, with one column per network,
and M_c, which has no positions, as a curve over the channels. Each row has a common colour scale.
matplotlib is imported when a sheet is drawn.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from bamsearch.errors import OutputError
from bamsearch.files import write_whole
from bamsearch.text import printable, shortened_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "viridis"
OPACITY = 0.6
MAX_NETWORKS = 6
"""Maximum number of networks with legible titles."""

LEAST_SPAN = 0.02
"""Minimum width of a colour scale, so that negligible differences are not exaggerated."""

_DPI = 100
_MOST_WIDTH, _MOST_HEIGHT, _MOST_PANEL = 2400, 30_000, 320
_MARGIN, _GAP, _BAR, _TICKS, _BETWEEN = 28, 12, 14, 52, 28
_HEAD, _LINE = 26, 17
_LEAST_CURVE, _CURVE_HEIGHT = 260, 150
_GREY = "0.45"


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


def contact_sheet(title: str, columns: Sequence[SheetColumn], sites: Sequence[str]) -> bytes:
    """Draw a contact sheet.

    Args:
        title: title with the name of the photograph.
        columns: the networks.
        sites: the rows; networks without BAM at a site have an empty cell.

    Returns:
        PNG without a date, so that equal maps give equal bytes.
    """
    with _default_style():
        sheet = _Sheet(title, columns, sites)
        buffer = io.BytesIO()
        sheet.figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def write_sheet(
    path: Path, title: str, columns: Sequence[SheetColumn], order: Sequence[str]
) -> None:
    """Draw a contact sheet and write it atomically."""
    executed = [site for column in columns for site in column.heats]
    # sites that were not executed have no row, and sites that were executed twice have two
    rows = [site for site in dict.fromkeys([*order, *executed]) if site in executed]
    write_whole(path, contact_sheet(title, columns, rows))


def sheet_paths(images: Sequence[Path], output: Path | None) -> list[Path]:
    """One sheet per picture, with its name; pictures of the same name are numbered."""
    if output is None:
        return []
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, not a folder: choose another path")
    stems = [image.stem.casefold() for image in images]
    taken: set[str] = set()
    paths = []
    for image in images:
        name, number = image.stem, 1
        while name.casefold() in taken or (number > 1 and name.casefold() in stems):
            number += 1
            name = f"{image.stem}-{number}"
        taken.add(name.casefold())
        paths.append(output / f"{name}.png")
    pictures = {image.resolve() for image in images}
    for path in paths:
        if path.resolve() in pictures:
            raise OutputError(f"{path} is one of the pictures to show: choose another folder")
    return paths


@contextmanager
def _default_style() -> Iterator[None]:
    """Use matplotlib's default style, independent of user settings, without logs and warnings."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    # matplotlib logs that it builds a font cache, and warns about missing glyphs
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            from matplotlib import style

            with style.context("default", after_reset=True):
                yield
    finally:
        logger.setLevel(level)


class _Sheet:
    """The layout, in pixels from the top left corner."""

    def __init__(self, title: str, columns: Sequence[SheetColumn], sites: Sequence[str]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.columns = columns
        count = len(columns)
        fixed = 2 * _MARGIN + 2 * ((count - 1) * _GAP + _BAR + _TICKS + _BETWEEN) + _TICKS
        self.panel = min(_MOST_PANEL, (_MOST_WIDTH - fixed - _LEAST_CURVE) // (2 * count))
        self.curve = max(self.panel, _LEAST_CURVE)
        self.group = count * self.panel + (count - 1) * _GAP
        self.width = fixed + 2 * count * self.panel + self.curve
        slope = max(column.picture.height / column.picture.width for column in columns)
        self.titles = (2 if count == 1 else max(4, count)) * _LINE
        # tall photographs keep their aspect ratio and are drawn narrower
        most = max(_MOST_HEIGHT // len(sites), 2 * _CURVE_HEIGHT)
        self.panel_height = min(round(self.panel * slope), 2 * self.panel, most)
        row = _HEAD + self.titles + max(self.panel_height, _CURVE_HEIGHT) + _BETWEEN
        notes = [column for column in columns if column.warning]
        top = _MARGIN + _HEAD + _LINE * len(notes) + 8
        first = max(_LINE + 6 + self.panel_height, _LINE * (8 + count)) + _BETWEEN
        self.height = top + first + len(sites) * row + 10
        self.figure: Figure = Figure(figsize=(self.width / _DPI, self.height / _DPI), dpi=_DPI)
        self.canvas = FigureCanvasAgg(self.figure)
        self._head(title, notes)
        self._photographs(top)
        for number, site in enumerate(sites):
            self._row(site, top + first + number * row)

    def _text(self, text: str, x: float, y: float, room: float, **style: Any) -> None:
        """Draw text with its top left corner at x, y, shortened to room; it may contain a $."""
        text = printable(text)
        style = {"va": "top", "fontsize": 9, "parse_math": False, **style}
        shown = self.figure.text(x / self.width, 1 - y / self.height, text, None, **style)
        letters, renderer = len(text), self.canvas.get_renderer()  # type: ignore[no-untyped-call]
        while letters > 3:
            width = shown.get_window_extent(renderer).width
            if width <= room:
                return
            letters = min(letters - 1, int(letters * room / width))
            shown.set_text(shortened_text(text, letters))

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        w, h = self.width, self.height
        return self.figure.add_axes((x / w, 1 - (y + height) / h, width / w, height / h))

    def _head(self, title: str, notes: Sequence[SheetColumn]) -> None:
        room = self.width - 2 * _MARGIN
        self._text(title, _MARGIN, _MARGIN, room, fontsize=14, fontweight="bold")
        for number, column in enumerate(notes):
            y = _MARGIN + _HEAD + number * _LINE
            text = f"{column.label}: {column.warning}"
            self._text(text, _MARGIN, y, room, color="#b00020", fontsize=10)

    def _photographs(self, y: float) -> None:
        for number, column in enumerate(self.columns):
            x = _MARGIN + number * (self.panel + _GAP)
            self._text(column.label, x, y, self.panel, fontweight="bold")
            self._picture(column.picture, x, y + _LINE + 6)
        x = _MARGIN + self.group + _BAR + _TICKS + _BETWEEN
        room = self.width - x - _MARGIN
        lines = [
            "Left: the photograph as the network sees it. Below, one row per site:",
            "M_s   spatial attention: sigmoid(M_s), a map with one channel",
            "M     factor of the features: its mean over the channels",
            "M_c   channel attention: sigmoid(M_c), sorted; it has no positions",
            "Above each map: its minimum, mean and maximum. Each row has a common colour scale.",
            "",
            *(f"{column.label}: {column.about}" for column in self.columns),
        ]
        for number, line in enumerate(lines):
            self._text(line, x, y + _LINE + 6 + number * _LINE, room, color="0.25")

    def _row(self, site: str, y: float) -> None:
        heats = [column.heats.get(site) for column in self.columns]
        maps = y + _HEAD + self.titles
        x: float = _MARGIN
        step = self.group + _BAR + _TICKS + _BETWEEN
        heading: dict[str, Any] = {"fontsize": 11, "fontweight": "bold"}
        self._text(f"{site} · M_s", x, y, self.group, **heading)
        self._text("M, mean over channels", x + step, y, self.group, **heading)
        self._text("M_c by channel", x + 2 * step + _TICKS, y, self.curve, **heading)
        self._maps(heats, "m_s", x, maps)
        self._maps(heats, "m", x + step, maps)
        self._curves(heats, x + 2 * step + _TICKS, maps)

    def _maps(
        self, heats: Sequence[Heat | None], kind: Literal["m_s", "m"], x: float, y: float
    ) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        low, high = scale_of([getattr(heat, kind) for heat in heats if heat is not None])
        norm = Normalize(low, high)
        for number, (column, heat) in enumerate(zip(self.columns, heats, strict=True)):
            panel_x = x + number * (self.panel + _GAP)
            if heat is None:
                self._empty(panel_x, y)
                continue
            values: np.ndarray = getattr(heat, kind)
            axes = self._picture(pale(column.picture), panel_x, y)
            over = resize_map(values, column.picture.size)
            axes.imshow(over, cmap=COLOURS, norm=norm, alpha=OPACITY, interpolation="nearest")
            lines = [column.label] if len(self.columns) > 1 else []
            lines += self._facts(heat) if kind == "m_s" else []
            self._over([*lines, _three(values)], panel_x, y, self.panel)
        bar_axes = self._axes(x + self.group + _GAP, y, _BAR, self.panel_height)
        bar = self.figure.colorbar(ScalarMappable(norm, COLOURS), cax=bar_axes, alpha=OPACITY)
        ticks = [low, (low + high) / 2, high]
        bar.set_ticks(ticks, labels=_decimals(ticks))
        bar.ax.tick_params(labelsize=8)

    def _facts(self, heat: Heat) -> list[str]:
        facts = [heat.shape, heat.settings]
        return facts if len(self.columns) > 1 else [" · ".join(facts)]

    def _curves(self, heats: Sequence[Heat | None], x: float, y: float) -> None:
        axes = self._axes(x, y, self.curve, max(self.panel_height, _CURVE_HEIGHT) - 14)
        present = [(number, heat) for number, heat in enumerate(heats) if heat is not None]
        most = max(2, *(heat.m_c.size for _, heat in present))
        axes.set(xlim=(1, most), ylim=scale_of([heat.m_c for _, heat in present]))
        several = len(self.columns) > 1
        lines, colours = [], [f"C{number}" for number, _ in present]
        for (number, heat), colour in zip(present, colours, strict=True):
            ranked = np.sort(heat.m_c)[::-1]
            axes.plot(np.arange(1, ranked.size + 1), ranked, color=colour, lw=1.6)
            label = f"{self.columns[number].label}: " if several else ""
            lines.append(f"{label}{_three(heat.m_c)}")
        if not several:
            best = np.argsort(-present[0][1].m_c, kind="stable")[:5]
            lines.insert(0, f"highest: channels {', '.join(map(str, best))}")
        self._over(lines, x, y, self.curve, colours if several else None)
        axes.tick_params(labelsize=8)
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def _over(
        self,
        lines: Sequence[str],
        x: float,
        y: float,
        room: float,
        colours: Sequence[str] | None = None,
    ) -> None:
        """Draw lines of text, the last just above y."""
        for number, line in enumerate(lines):
            bottom = y - 5 - (len(lines) - 1 - number) * _LINE
            colour = colours[number] if colours else "black"
            self._text(line, x, bottom, room, va="bottom", color=colour)

    def _picture(self, picture: Image.Image, x: float, y: float) -> Axes:
        axes = self._axes(x, y, self.panel, self.panel_height)
        axes.imshow(picture.convert("RGB"), interpolation="antialiased")
        axes.set_anchor("NW")
        axes.set_axis_off()
        return axes

    def _empty(self, x: float, y: float) -> None:
        axes = self._axes(x, y, self.panel, self.panel_height)
        axes.set(facecolor="0.96", xticks=[], yticks=[])
        axes.spines[:].set_color("0.88")
        axes.text(0.5, 0.5, "no BAM here", ha="center", va="center", color=_GREY, fontsize=9)


def _three(values: np.ndarray) -> str:
    return " · ".join(_decimals([values.min(), values.mean(), values.max()]))


def _decimals(values: Sequence[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map (H, W) to (height, width) of its picture with bilinear interpolation.

    Cells tile the picture: cell (i, j) of an H x W map covers row i of H and column j of W.
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
