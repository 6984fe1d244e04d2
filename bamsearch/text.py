r"""Makes untrusted text safe to display. Standard library only.

Names of sites, classes, files, models and runs come from other people's files. They are stored
unchanged and made safe where they are written:

========  ========================================================================================
terminal  :func:`printable`, :func:`printable_lines`: control characters are escaped
HTML      :func:`printable`, and the template's own escaping
SVG       :func:`printable`: XML cannot hold control characters
Markdown  :func:`printable`, and :func:`bamsearch.reporting.markdown.escaped`
CSV       :func:`csv_file_text`: spreadsheets do not execute any cell
JSON      :func:`indented_json`: valid, and every name can be read back unchanged
========  ========================================================================================
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from math import floor, log10
from typing import Any
from unicodedata import category

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Persian and many emoji need these characters, and they cannot hide text."""

_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

_FORMULA = re.compile("'*[=+\\-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
                      "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]")  # fmt: skip
"""Start of a cell that a spreadsheet may execute, whatever number of quotes precedes it."""

_SURROGATE = re.compile("[\ud800-\udfff]")

LARGEST_COUNT = 10**4000
"""Larger counts are stored and shown as this: Python does not parse more than 4,300 digits."""

_LARGEST_FLOAT = 10**300
"""Counts up to here are formatted as a float; the largest float is 1.8e308."""


def printable(text: str) -> str:
    r"""Return the text on one line, with control and bidirectional characters as ``\x1b``.

    Args:
        text: any text. A byte of a file name that is not UTF-8 (``surrogateescape``) is shown as
            its value, ``\xff``. A text of blanks alone becomes ``␣``, to be visible.
    """
    if text.isspace() and set(text) == {" "}:
        return "␣" * len(text)
    return _replaced(text, _escaped)


def printable_lines(text: str) -> str:
    """Return several lines, each with unprintable characters escaped; blanks are unchanged."""
    return _replaced(text, _escaped, "\n")


def is_utf8(text: str) -> bool:
    """Whether the text can be encoded as UTF-8; file names with other bytes cannot."""
    return _SURROGATE.search(text) is None


def shortened_text(text: str, most: int) -> str:
    """Return at most ``most`` (3 or more) characters of the text, its middle as an ellipsis."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def table_cell(text: str, longest: int = 80) -> str:
    """Return a printable table cell with long words shortened, so that all columns stay visible.

    Args:
        text: any text.
        longest: maximum length of a word; site paths in large networks have about 60 characters.
    """
    shown = printable(text)
    if len(shown) <= longest:
        return shown
    return " ".join(shortened_text(word, longest) for word in shown.split(" "))


def csv_cell(value: Any) -> Any:
    """Return a value for a CSV file; text that a spreadsheet would execute is prefixed with ``'``.

    Args:
        value: number or text. Text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line
            break is prefixed, even after another ``'``, so that :func:`csv_value` restores every
            text. Lone surrogates, which UTF-8 cannot encode, are shown as their value.
    """
    if not isinstance(value, str):
        return value
    text = _SURROGATE.sub(lambda match: _escaped(match[0]), value)
    return f"'{text}" if _FORMULA.match(text) else text


def csv_value(text: str) -> str:
    """Restore the text of a cell written by :func:`csv_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_file_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a CSV file (RFC 4180) with safe cells (:func:`csv_cell`); None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerows([csv_cell(value) for value in row] for row in (header, *rows))
    return text.getvalue()


def indented_json(value: Any) -> str:
    r"""Return indented JSON: letters unchanged, unprintable characters as ``\u001b``.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _replaced(text, lambda character: json.dumps(character)[1:-1], "\n")


def number_text(number: int) -> str:
    """Format a count: all digits below 10^9, else ``1.2e+301``."""
    if number >= LARGEST_COUNT:
        return "more than 10^4000"
    if abs(number) < 10**9:
        return f"{number:,}"
    if abs(number) < _LARGEST_FLOAT:
        return f"{float(number):.1e}"
    power = log10(abs(number))
    exponent = floor(power)
    mantissa = f"{10 ** (power - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{'-' if number < 0 else ''}{mantissa}e+{exponent}"


def size_text(shape: Iterable[int]) -> str:
    """Format a shape as ``3x224x224``, as in options and messages."""
    return "x".join(map(str, shape))


def share_text(part: int, whole: int) -> str:
    """Format ``part / whole`` as ``20.0%``; ``?`` if whole is capped or smaller than part."""
    if whole >= LARGEST_COUNT or part > whole:
        return "?"
    return f"{part / whole if whole else 0.0:.1%}"


def json_count(number: int) -> int | str:
    """Return a count for JSON: text from 10^300 on, as JSON readers cannot hold such numbers."""
    return number if number < _LARGEST_FLOAT else number_text(number)


def _replaced(text: str, escape: Callable[[str], str], allowed: str = "") -> str:
    """The text with its unprintable characters escaped, except for the allowed one."""
    if text.replace(allowed, "").isprintable():
        return text
    return "".join(
        character if character == allowed or _is_harmless(character) else escape(character)
        for character in text
    )


def _is_harmless(character: str) -> bool:
    """Whether a character is visible, or a blank or joiner, and does not affect its neighbours."""
    return character.isprintable() or character in _JOINERS or category(character) == "Zs"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # surrogateescape: a byte of a file name that is not UTF-8
    if code < 0x100:
        return _NAMED.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
