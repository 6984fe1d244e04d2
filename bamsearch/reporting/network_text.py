"""The picture of a network for a terminal.

::

    image ─ stem ─ layer1 ─ layer2 ─■─ layer3 ─■─ layer4
     224    112      56       28   r16   14   r8    7
             64     256      512   d2   1024  d4   2048

A square map is shown as one number. A ``■`` is a BAM after a stage; blocks with BAM are listed
under their stage, ``.1–3`` for adjacent ones with the same r and d.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from rich.cells import cell_len
from rich.text import Text

from bamsearch.reporting.network import NetworkPicture, Stage, name_range, shorten
from bamsearch.reporting.text import option_text, shape_text
from bamsearch.text import printable

_LONGEST_LABEL = 30
_INDENT = "  "
_LINE = "─"


@dataclass(frozen=True, slots=True)
class _Column:
    """Lines of equal width, one below another; the first is on the line of the flow."""

    lines: tuple[str, ...]
    width: int

    @classmethod
    def of(cls, lines: Sequence[str]) -> _Column:
        width = max(cell_len(line) for line in lines)
        first, *rest = lines
        return cls((_centred(first, width, _LINE), *(_centred(o, width, " ") for o in rest)), width)


def network_text(picture: NetworkPicture, width: int = 100) -> str:
    """The picture as lines of text, each with a newline and without trailing blanks.

    Args:
        picture: the picture.
        width: width of the terminal in cells, at least 40; further stages continue in another row.
    """
    width = max(width, 40)
    rows = _rows(list(_units(picture, width)), width - len(_INDENT))
    blocks = [_draw(row, first=at == 0, last=at == len(rows) - 1) for at, row in enumerate(rows)]
    text = "\n".join(blocks)
    summary = picture.summary
    if summary.part:
        part = f"{summary.part}, input {shape_text(summary.part_input)}"
        text += f"\n{_INDENT}{shorten(printable(part), width - len(_INDENT))}\n"
    if not picture.stages:
        text += f"\n{_INDENT}No site: the map keeps one resolution.\n"
    return text


def _units(picture: NetworkPicture, width: int) -> Iterator[tuple[_Column, ...]]:
    """Columns that stay together in a row: a stage and the connection after it."""
    cells = min(_LONGEST_LABEL, width - 12)
    size = _size_text(picture.summary.part_input[1:])
    yield (_Column.of([f" {picture.input_name} ", f" {size} "]), _Column.of([_LINE]))
    for stage in picture.stages:
        lines = [stage.label, _size_text(stage.sizes), stage.channels, *_blocks_with_bam(stage)]
        stage_column = _Column.of([f" {shorten(line, cells)} " for line in lines])
        insertion = stage.sites[-1].insertion
        mark = [_LINE]
        if insertion is not None:
            mark = [f"{_LINE}■{_LINE}", f"r{insertion.reduction}", f"d{insertion.dilation}"]
        yield (stage_column, _Column.of(mark))


def _blocks_with_bam(stage: Stage) -> list[str]:
    """Lines such as ``.1–3 r16 d4``, padded to equal width."""
    lines = []
    for _, group in groupby(stage.sites[:-1], lambda placed: option_text(placed.insertion)):
        same = list(group)
        first = same[0]
        if first.insertion is not None:
            names = name_range(first.label, same[-1].label)
            taken = option_text(first.insertion)
            lines.append(f"{shorten(names, _LONGEST_LABEL - 1 - len(taken))} {taken}")
    widest = max(map(cell_len, lines), default=0)
    return [line + " " * (widest - cell_len(line)) for line in lines]


def _rows(units: Sequence[tuple[_Column, ...]], width: int) -> list[list[tuple[_Column, ...]]]:
    rows: list[list[tuple[_Column, ...]]] = [[]]
    taken = 0
    for unit in units:
        wanted = sum(column.width for column in unit)
        if rows[-1] and taken + wanted > width:
            rows.append([])
            taken = cell_len(_LINE)
        rows[-1].append(unit)
        taken += wanted
    return rows


def _draw(row: Sequence[tuple[_Column, ...]], *, first: bool, last: bool) -> str:
    """The lines of a row; the flow starts at the image and stops at the end."""
    columns = [column for unit in row for column in unit]
    if not first:
        columns.insert(0, _Column.of([_LINE]))
    blanks = [" " * column.width for column in columns]
    lines = [
        "".join(part or blank for part, blank in zip(parts, blanks, strict=True))
        for parts in zip_longest(*(column.lines for column in columns))
    ]
    if first:
        flow = lines[0].lstrip(_LINE)
        lines[0] = " " * (len(lines[0]) - len(flow)) + flow
    if last:
        lines[0] = lines[0].rstrip(f"{_LINE} ")
    return "".join(f"{_INDENT}{line}".rstrip() + "\n" for line in lines)


def _size_text(sizes: Sequence[int]) -> str:
    """``56`` for (56, 56), ``56×28``, ``16×56×56`` with frames."""
    if len(sizes) == 2 and sizes[0] == sizes[1]:
        return str(sizes[0])
    return shape_text(sizes)


def _centred(text: str, width: int, fill: str) -> str:
    line = Text(text)
    line.align("center", width, fill)
    return line.plain
