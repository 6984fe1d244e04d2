"""Latency tables as CSV, for times measured on a target device. No torch.

RFC 4180 with a header: ``site,r,d,ms``. The base is the row with site ``base`` and empty r and d.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bamsearch.errors import InvalidValueError
from bamsearch.files import write_whole
from bamsearch.records import LatencyEntry, LatencyTable, ModelSummary
from bamsearch.records.formats import read_bytes
from bamsearch.records.hints import MOST_MS, Misfit, shown
from bamsearch.text import csv_file_text, csv_value

COLUMNS = ("site", "r", "d", "ms")
BASE = "base"


def read_latency_csv(path: str | os.PathLike[str], summary: ModelSummary) -> LatencyTable:
    """Read a table written by :func:`write_latency_csv` or another tool.

    Args:
        path: the file, UTF-8.
        summary: summary of the timed model, which determines the allowed sites.

    Returns:
        The table, without conditions and error, which a CSV does not contain.

    Raises:
        InvalidValueError: missing file, or an invalid table; the message names line and column.
    """
    path = Path(path)
    sites = {site.name for site in summary.sites}
    base_ms: float | None = None
    entries: dict[tuple[str, int, int], LatencyEntry] = {}
    for where, (site, r, d, ms) in _rows(path):
        if site == BASE and not r and not d:
            if base_ms is not None:
                raise InvalidValueError(f"{where}, column site: a second row for the base")
            base_ms = _milliseconds(ms, where)
            if base_ms == 0:
                raise InvalidValueError(f"{where}, column ms: the base cannot take 0 ms")
            continue
        site = site if site in sites else csv_value(site)
        if site not in sites:
            raise InvalidValueError(
                f"{where}, column site: {summary.model} has no site {shown(site)}: "
                "'bamsearch sites MODEL' lists them"
            )
        entry = LatencyEntry(
            site, _positive(r, "r", where), _positive(d, "d", where), _milliseconds(ms, where)
        )
        key = (entry.site, entry.reduction, entry.dilation)
        if key in entries:
            raise InvalidValueError(f"{where}, column site: {site} with r={r}, d={d} twice")
        entries[key] = entry
    if base_ms is None:
        raise InvalidValueError(f"{path} lacks the row of the base: add one like '{BASE},,,12.5'")
    return LatencyTable(
        summary.model, summary.input_shape, summary.part, base_ms, tuple(entries.values())
    )


def write_latency_csv(table: LatencyTable, path: str | os.PathLike[str]) -> None:
    """Write the times of a table in full precision; a CSV has no conditions and no error.

    Args:
        table: the table.
        path: the file; replaced if it exists.

    Raises:
        OutputError: the file cannot be written; an existing one is unchanged.
    """
    path = Path(path)
    rows: list[tuple[Any, ...]] = [(BASE, "", "", table.base_ms)]
    rows += [(entry.site, entry.reduction, entry.dilation, entry.ms) for entry in table.entries]
    write_whole(path, csv_file_text(COLUMNS, rows).encode())


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Location and four fields of each row, after checking the header."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    expected = ",".join(COLUMNS)
    header = False
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not header:
                if tuple(row) != COLUMNS:
                    raise InvalidValueError(f"{where}: the header must be {expected}")
                header = True
            elif len(row) == len(COLUMNS):
                yield where, row
            elif row:
                raise InvalidValueError(f"{where}: {len(row)} columns, not the 4 of {expected}")
    except csv.Error as error:
        raise InvalidValueError(f"{path}, line {reader.line_num}: {error}") from error
    if not header:
        raise InvalidValueError(f"{path}, line 1: the header must be {expected}")


def _text(path: Path) -> str:
    try:
        # utf-8-sig: spreadsheets start a file with a byte order mark.
        return read_bytes(path).decode("utf-8-sig")
    except Misfit as error:
        raise InvalidValueError(f"{path} {error}: the file must hold only the table") from error
    except OSError as error:
        raise InvalidValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidValueError(f"{path}, line {line}: not UTF-8") from error


def _positive(text: str, column: str, where: str) -> int:
    # Only ASCII digits: int() also accepts '1_0', ' 8' and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise InvalidValueError(
            f"{where}, column {column}: must be an integer of at least 1, not {shown(text)}"
        )
    return int(text)


def _milliseconds(text: str, where: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        value = float("nan")
    if not 0 <= value <= MOST_MS:
        raise InvalidValueError(
            f"{where}, column ms: must be a time of 0 or more, not {shown(text)}"
        )
    return value
