"""Annotations of record fields, which the codec reads: ranges, names in JSON, encodings.

``Annotated[int, Range(1)]`` is checked when a file is read, see :mod:`bamsearch.records.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

MOST_DIGITS = 4300
"""Most digits of a number in a file: Python's own limit."""

MOST_FLOAT = 1e100
"""Largest absolute float in a file: sums, ratios and squares of such floats are finite."""

MOST_MS = 365 * 24 * 3.6e6
"""Longest time in a file, in milliseconds: a year."""


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, or of the length of a text, a list or an object; both ends included."""

    low: int | float
    high: int | float | None = None

    def __str__(self) -> str:
        if self.high is None:
            return f"of at least {self.low}"
        if self.high > 2**63:
            return f"of at least {self.low} and at most {MOST_DIGITS:,} digits"
        return f"from {self.low} to {self.high}"

    def has(self, value: Any) -> bool:
        """Whether a value, or its length, is within the limits."""
        size = value if isinstance(value, int | float) else len(value)
        return bool(self.low <= size and (self.high is None or size <= self.high))


@dataclass(frozen=True, slots=True)
class Key:
    """Another name for a field in JSON."""

    name: str


class Mark(Enum):
    """Exceptions from the usual encoding of a field."""

    ROW = "a dataclass as the list of its values"
    SPARSE = "left out where it is the default"
    ANY_FLOAT = "infinite and not a number too"
    OPAQUE = "an object whose values are checked elsewhere"
    NEEDED = "in the file always, whatever the default"
    BARE = "a list of one as its only item"


Percent = Annotated[float, Range(0, 100)]
Share = Annotated[float, Range(0, 1)]
Milliseconds = Annotated[float, Range(1e-9, MOST_MS)]
Positive = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Amount = Annotated[int, Range(0, 2**60)]
"""Parameters, multiply-adds, bytes or nanoseconds: the sum of a few fits 64 bits."""

AnyNatural = Annotated[int, Range(0, 10**MOST_DIGITS - 1)]
"""A count of any size, such as the number of designs in a space."""


class Misfit(Exception):
    """Content that does not fit its type; :class:`bamsearch.records.formats.Format` converts it.

    Args:
        reason: text after the name of the key, such as ``is 'abc', expected an integer``.
        path: keys and indices that lead to the content.
        is_value: False if the reason is a complete sentence.
    """

    def __init__(self, reason: str, *path: str | int, is_value: bool = True) -> None:
        # One line, even for names with line breaks.
        escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in reason[:1000])
        self.reason = "".join(escaped)
        super().__init__(self.reason)
        self.is_value = is_value
        self.path = list(path)

    @property
    def of_all(self) -> bool:
        """Whether the content as a whole does not fit, rather than a key."""
        return self.is_value and not self.path

    def __str__(self) -> str:
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        if not path:
            return self.reason
        path = ascii(path.removeprefix("."))[1:-1][:200]
        return f"key {path} {self.reason}" if self.is_value else f"key {path}: {self.reason}"


def shown(value: Any) -> str:
    """A value on one line, shortened."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
