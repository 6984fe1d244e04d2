"""Types of option values: numbers with limits, and texts that are parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bamsearch.graph.placement import PLACEMENTS
from bamsearch.records import ValueRange, check_value_range

T = TypeVar("T")

Override = tuple[str, int | None, int | None]
"""Site, reduction r, dilation d; None means the common value."""


class Count(click.IntRange):
    """An integer of at least ``min`` and at most ``most``, which help does not show."""

    def __init__(self, min: int, most: int = 1_000_000) -> None:
        super().__init__(min=min)
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or raise click.BadParameter if it is out of range."""
        number: int = super().convert(value, param, ctx)
        if number > self._most:
            self.fail(f"{value} is not in the range {self.min}<=x<={self._most}.", param, ctx)
        return number


class Real(click.FloatRange):
    """A finite number above 0; 0 itself is allowed unless ``open``."""

    _MOST = 1e9

    def __init__(self, *, open: bool = True) -> None:
        super().__init__(min=0, min_open=open)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or raise click.BadParameter if it is out of range."""
        number: float = super().convert(value, param, ctx)
        if not number <= self._MOST:
            least = "0<x" if self.min_open else "0<=x"
            self.fail(f"{value} is not in the range {least}<={self._MOST:g}.", param, ctx)
        return number


class Text(click.ParamType[T]):
    """A text that a function parses.

    Args:
        metavar: placeholder in help.
        parse: returns the value of a text, or raises ValueError.
        expected: description of valid texts, for the error.
        words: completions.
    """

    def __init__(
        self, metavar: str, parse: Callable[[str], T], expected: str, words: Sequence[str] = ()
    ) -> None:
        self.name = self._metavar = metavar
        self._parse = parse
        self._expected = expected
        self._words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the placeholder shown in help."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return the value of the text, or raise click.BadParameter."""
        if not isinstance(value, str):
            parsed: T = value
            return parsed
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"{value!r} is not {self._expected}.", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the words that start with incomplete."""
        return [CompletionItem(word) for word in self._words if word.startswith(incomplete)]


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise ValueError
    return text


def _input_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})(?:[xX×](\d{1,5}))?", text)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if height < 1 or width < 1:
        raise ValueError
    return height, width


def _sites(text: str) -> str | list[str]:
    if text in PLACEMENTS:
        return text
    return [name.strip() for name in text.split(",") if name.strip()]


def _override(text: str) -> Override:
    name, _, rest = text.rpartition(":")
    values: dict[str, int] = {}
    for part in rest.split(","):
        match = re.fullmatch(r"\s*([rd])\s*=\s*(\d{1,6})\s*", part)
        if match is None or match[1] in values or not name:
            raise ValueError
        values[match[1]] = int(match[2])
    return name, values.get("r"), values.get("d")


def _channels(text: str) -> tuple[float, ...]:
    numbers = text.split(",")
    number = r"\s*-?(\d+\.?\d*|\.\d+)\s*"
    if len(numbers) not in (1, 3) or not all(re.fullmatch(number, each) for each in numbers):
        raise ValueError
    if max(abs(float(each)) for each in numbers) > 1e6:
        raise ValueError
    return tuple(map(float, numbers))


def _value_range(text: str) -> ValueRange:
    return check_value_range(text.split(":"))


DEVICE = Text(
    "auto|cpu|cuda[:N]|mps",
    _device,
    "one of auto, cpu, cuda, cuda:N, mps",
    ("auto", "cpu", "cuda", "mps"),
)
INPUT_SIZE = Text("H[xW]", _input_size, "H or HxW, such as 224 or 512x1024")
SITES = Text("PLACEMENT|NAME,…", _sites, "a list of sites", tuple(PLACEMENTS))
OVERRIDE = Text("NAME:r=R,d=D", _override, "NAME:r=R,d=D, such as layer3:r=8,d=2")
CHANNELS = Text("R,G,B", _channels, "R,G,B, such as 0.485,0.456,0.406")
VALUE_RANGE = Text(
    "LO:HI", _value_range, "LO:HI, two finite numbers with LO below HI, such as 0:4095"
)
