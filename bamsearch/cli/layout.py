"""Tables and paragraphs that fit a terminal; elsewhere nothing is cut or wrapped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from rich.cells import cell_len, chop_cells

from bamsearch.text import printable, table_cell

_GAP = 3
"""Blanks between two columns."""

_NARROWEST = 8
"""A column is not made narrower than this, whatever it holds."""

_LONGEST_WORD = 120
"""On a terminal a longer word in a cell loses characters in its middle."""

_MOST_LINES = 12
"""A cell that takes more lines loses those in its middle."""

_HANGING = re.compile(r" *(?:\S+ {2,})?")


def table_text(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    align: str,
    indent: int = 2,
    *,
    width: int | None = None,
    bold: bool = False,
) -> str:
    """A table without borders, its lines without trailing blanks.

    Args:
        header: titles of the columns; all empty leaves the line out.
        rows: cells, one sequence per row, each as long as header.
        align: one letter per column, ``l`` or ``r``.
        indent: blanks before each line.
        width: cells of the terminal; None for a file, where nothing is wrapped.
        bold: show the header so, with escape sequences.

    Raises:
        ValueError: a row of another length.
    """
    if not all(len(row) == len(align) for row in (header, *rows)):
        raise ValueError(f"a row is longer or shorter than the {len(align)} columns of its table")
    titled = any(header)
    shown = printable if width is None else partial(table_cell, longest=_LONGEST_WORD)
    table = [[shown(cell) for cell in row] for row in ([header] if titled else []) + [*rows]]
    widths = [max(map(_cells, column)) for column in zip(*table, strict=True)]
    if width is not None:
        widths = _fitted(widths, width - indent - _GAP * (len(widths) - 1))
    lines = []
    for number, row in enumerate(table):
        style = "\x1b[1m{}\x1b[0m" if bold and titled and number == 0 else "{}"
        for line in _row_lines(row, widths, align):
            lines.append(" " * indent + style.format(line) if line else "")
    return "\n".join(lines)


def paragraph(text: str, width: int | None) -> str:
    """A line, wrapped at blanks; what follows is below the text, not below its first word.

    Args:
        text: one line; ``EVIDENCE  none: …`` goes on below ``none``.
        width: cells of the terminal; None leaves the line as it is.
    """
    if width is None or _cells(text) <= width:
        return text
    match = _HANGING.match(text)
    hanging = match.end() if match is not None and match.end() <= width // 3 else 0
    first, *more = _wrapped(text[hanging:], max(width - hanging, _NARROWEST))
    return "\n".join([text[:hanging] + first, *(" " * hanging + line for line in more)])


def _row_lines(row: Sequence[str], widths: Sequence[int], align: str) -> list[str]:
    """The lines that a row takes: one, unless a cell is wider than its column."""
    cells = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells), default=0)):
        parts = []
        for cell, width, letter in zip(cells, widths, align, strict=True):
            text = cell[number] if number < len(cell) else ""
            blanks = " " * (width - _cells(text))
            parts.append(blanks + text if letter == "r" else text + blanks)
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _folded(cell: str, width: int) -> list[str]:
    """A cell as lines; of very many the first and the last ones."""
    if _cells(cell) <= width:
        return [cell]
    lines = _wrapped(cell, width)
    if len(lines) <= _MOST_LINES:
        return lines
    half = _MOST_LINES // 2
    return [*lines[:half], "…", *lines[1 + half - _MOST_LINES :]]


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """The widths, those of the widest columns cut until all fit."""
    most = max(widths, default=0)
    while most > _NARROWEST and sum(min(width, most) for width in widths) > room:
        excess = sum(min(width, most) for width in widths) - room
        most -= max(1, excess // sum(width >= most for width in widths))
    return [min(width, max(most, _NARROWEST)) for width in widths]


def _wrapped(text: str, width: int) -> list[str]:
    """Words in lines of at most width cells; a longer word is cut."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _cells(joined) <= width:
            lines[-1] = joined
            continue
        pieces = chop_cells(word, width)
        lines[-1:] = [lines[-1], *pieces] if lines[-1] else pieces
    return lines


def _cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else cell_len(text)
