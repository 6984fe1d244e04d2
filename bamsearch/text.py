r"""Text that is safe to show, wherever it came from. Standard library only.

Names of sites, classes, files, models and runs come from files of other people. They are stored as
they are and made safe where they are written:

========  ========================================================================================
terminal  :func:`printable`, :func:`printable_lines`: no control character reaches it
HTML      :func:`printable`, and the template's own escaping
SVG       :func:`printable`: XML cannot hold control characters
Markdown  :func:`printable`, and :func:`bamsearch.report.markdown.escaped`
CSV       :func:`csv_file_text`: a spreadsheet executes no cell
JSON      :func:`indented_json`: valid, and every name comes back as it was
========  ========================================================================================
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from math import floor, log10
from typing import Any
from unicodedata import category

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Persian words and many emoji need them, and they hide nothing."""

_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

_FORMULA = re.compile("'*[=+\\-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
                      "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]")  # fmt: skip
"""How a cell begins that a spreadsheet may execute, however many quotes were put before it."""

_SURROGATE = re.compile("[\ud800-\udfff]")

LARGEST_COUNT = 10**4000
"""A larger count is stored and shown as this: Python reads no number of over 4,300 digits."""

_LARGEST_FLOAT = 10**300
"""Up to here a count is shown by way of a float; the largest is 1.8e308."""


def printable(text: str) -> str:
    r"""The text on one line; what cannot be printed, or turns the text around, as ``\x1b``.

    Args:
        text: anything. A byte of a file name that is not UTF-8 (``surrogateescape``) is shown by
            its value, ``\xff``. Blanks alone become ``␣``, so that they can be seen.
    """
    if text.isspace() and set(text) == {" "}:
        return "␣" * len(text)
    if text.isprintable():
        return text
    return "".join(one if _is_harmless(one) else _shown(one) for one in text)


def printable_lines(text: str) -> str:
    """Several lines, each without what cannot be printed; blanks stay as they are."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(one if one == "\n" or _is_harmless(one) else _shown(one) for one in text)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold the text: not so for a file name of other bytes."""
    return _SURROGATE.search(text) is None


def shortened_text(text: str, most: int) -> str:
    """The text in at most so many characters, an ellipsis for its middle where it is longer.

    Args:
        text: anything.
        most: at least 3.
    """
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def table_cell(text: str, longest: int = 80) -> str:
    """A cell of a table for people: printable, no word of it longer than a line.

    Args:
        text: anything; a name of 1,000 characters would push all other columns out of sight.
        longest: characters of a word; the path of a site in a large network has about 60.
    """
    shown = printable(text)
    if len(shown) <= longest:
        return shown
    return " ".join(shortened_text(word, longest) for word in shown.split(" "))


def csv_cell(value: Any) -> Any:
    """A value for a CSV file; a text that a spreadsheet would execute gets a ``'`` before it.

    Args:
        value: a number stays a number. A text that begins with ``=``, ``+``, ``-``, ``@``, a tab
            or a line break is quoted so, also if it has such a ``'`` already: so :func:`csv_value`
            reads every text back. Half of a character, which UTF-8 cannot hold, is shown by its
            value.
    """
    if not isinstance(value, str):
        return value
    text = _SURROGATE.sub(lambda match: _shown(match[0]), value)
    return f"'{text}" if _FORMULA.match(text) else text


def csv_value(text: str) -> str:
    """The text of a cell that :func:`csv_cell` wrote."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_file_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file (RFC 4180) of :func:`csv_cell`; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerows([csv_cell(value) for value in row] for row in (header, *rows))
    return text.getvalue()


def indented_json(value: Any) -> str:
    r"""A value as indented JSON: letters as they are, what cannot be printed as ``\u001b``.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        one if one == "\n" or _is_harmless(one) else json.dumps(one)[1:-1] for one in text
    )


def number_text(number: int) -> str:
    """A count: in full to 10^9, else its size: ``1.2e+301``."""
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


def share_text(part: int, whole: int) -> str:
    """``20.0%`` of a count; ``?`` where it is too large to be stored, or below its part."""
    if whole >= LARGEST_COUNT or part > whole:
        return "?"
    return f"{part / whole if whole else 0.0:.1%}"


def json_count(number: int) -> int | str:
    """A count for JSON: beyond 10^300, where readers have no number for it, its size as text."""
    return number if number < _LARGEST_FLOAT else number_text(number)


def _is_harmless(one: str) -> bool:
    """Whether it is shown, and changes nothing around it; other blanks than a space do not."""
    return one.isprintable() or one in _JOINERS or category(one) == "Zs"


def _shown(one: str) -> str:
    code = ord(one)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is not UTF-8, as Python reads file names
    if code < 0x100:
        return _NAMED.get(one, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
