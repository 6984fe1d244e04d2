"""Tables and paragraphs that fit a terminal; in files nothing is cut or wrapped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from bamsearch.text import printable, table_cell

_GAPS = (3, 2, 1)
"""Blanks between two columns; fewer if the table is wider than the terminal."""

_NARROWEST, _WHOLE_WORD = 6, 14
"""Minimum width of a column: 6 cells, or its longest word of up to 14 cells."""

_LONGEST_WORD = 120
"""On a terminal, longer words in a cell are shortened in the middle."""

_MOST_LINES = 12
"""Cells with more lines are shortened in the middle."""

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
    """Format a table without borders and without trailing blanks.

    Args:
        header: titles of the columns; no header line if all are empty.
        rows: cells, one sequence per row, each as long as header.
        align: one letter per column, ``l`` or ``r``.
        indent: blanks before each line.
        width: width of the terminal in cells; None for a file, where nothing is wrapped.
        bold: print the header in bold, with escape sequences.

    Raises:
        ValueError: a row has another length than the header.
    """
    if not all(len(row) == len(align) for row in (header, *rows)):
        raise ValueError(f"a row is longer or shorter than the {len(align)} columns of its table")
    titled = any(header)
    shown = printable if width is None else partial(table_cell, longest=_LONGEST_WORD)
    table = [[shown(cell) for cell in row] for row in ([header] if titled else []) + [*rows]]
    widths = [max(map(_cells, column)) for column in zip(*table, strict=True)]
    gap = _GAPS[0]
    if width is not None:
        widths, gap = _fitted(table, widths, width - indent)
    lines = []
    for number, row in enumerate(table):
        style = "\x1b[1m{}\x1b[0m" if bold and titled and number == 0 else "{}"
        for line in _row_lines(row, widths, align, " " * gap):
            lines.append(" " * indent + style.format(line) if line else "")
    return "\n".join(lines)


def paragraph(text: str, width: int | None) -> str:
    """Wrap a line at blanks, with a hanging indent below its label.

    Args:
        text: one line; ``EVIDENCE  none: …`` continues below ``none``.
        width: width of the terminal in cells; None returns the line unchanged.
    """
    if width is None or _cells(text) <= width:
        return text
    match = _HANGING.match(text)
    hanging = match.end() if match is not None and match.end() <= width // 3 else 0
    first, *more = _wrapped(text[hanging:], max(width - hanging, _NARROWEST))
    lines = [text[:hanging] + first, *(" " * hanging + line for line in more)]
    return "\n".join(line.rstrip() for line in lines)


def _row_lines(row: Sequence[str], widths: Sequence[int], align: str, gap: str) -> list[str]:
    """Lines of a row: several if a cell is wider than its column."""
    cells = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells), default=0)):
        parts = []
        for cell, width, letter in zip(cells, widths, align, strict=True):
            text = cell[number] if number < len(cell) else ""
            blanks = " " * (width - _cells(text))
            parts.append(blanks + text if letter == "r" else text + blanks)
        lines.append(gap.join(parts).rstrip())
    return lines


def _folded(cell: str, width: int) -> list[str]:
    """Lines of a cell; the first and the last if there are too many."""
    if _cells(cell) <= width:
        return [cell]
    lines = _wrapped(cell, width)
    if len(lines) <= _MOST_LINES:
        return lines
    half = _MOST_LINES // 2
    return [*lines[:half], "…", *lines[1 + half - _MOST_LINES :]]


def _fitted(
    table: Sequence[Sequence[str]], widths: Sequence[int], room: int
) -> tuple[list[int], int]:
    """Widths of the columns and of the gap between them, to fit the room."""
    gaps = len(widths) - 1
    if sum(widths) + gaps * _GAPS[0] <= room:
        return list(widths), _GAPS[0]
    words = [max(_longest_word(cell) for cell in column) for column in zip(*table, strict=True)]
    whole = [max(_NARROWEST, word if word <= _WHOLE_WORD else 0) for word in words]
    narrower = [(cap, _GAPS[-1]) for cap in range(_WHOLE_WORD - 1, _NARROWEST - 1, -1)]
    for cap, gap in [*((_WHOLE_WORD, gap) for gap in _GAPS), *narrower]:
        cut = _cut(widths, [min(low, cap) for low in whole], room - gaps * gap)
        if sum(cut) + gaps * gap <= room:
            break
    return cut, gap


def _cut(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Narrow the widest columns until all fit, each at most to its minimum."""
    for most in range(max(widths), 0, -1):
        cut = [min(width, max(most, low)) for width, low in zip(widths, least, strict=True)]
        if sum(cut) <= room:
            break
    return cut


def _longest_word(cell: str) -> int:
    return max(map(_cells, cell.split(" ")))


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap words into lines of at most width cells; longer words are cut."""
    from rich.cells import chop_cells

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
    """Width of the text in terminal cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # not at the top: --help does not need it

    return cell_len(text)
