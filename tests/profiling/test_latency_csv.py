"""Latency tables as CSV: what is written is read, and what is wrong is said where it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bamsearch import files
from bamsearch.errors import InvalidValueError, OutputError
from bamsearch.profiling.latency_csv import read_latency_csv, write_latency_csv
from bamsearch.records import Cost, LatencyEntry, LatencyTable, ModelSummary, Site

# A path with a comma, a quote or a line break is one that a user's module may have.
NAMES = ("layer1", "base", 'odd, "path"\n@2')
SUMMARY = ModelSummary(
    "net",
    (3, 64, 64),
    "backbone",
    (3, 32, 32),
    tuple(Site(name, 8, 4, 4, 4, "NCHW", "bottleneck", "next") for name in NAMES),
    Cost(1, 2, 3),
)
TABLE = LatencyTable(
    "net",
    (3, 64, 64),
    "backbone",
    1 / 3,
    (
        LatencyEntry("layer1", 4, 1, 0.1 + 0.2),
        LatencyEntry("base", 16, 6, 5e-324),
        LatencyEntry(NAMES[2], 4, 2, 0.0),
    ),
)


def test_what_is_written_is_read(tmp_path) -> None:
    path = tmp_path / "times.csv"
    for _ in range(2):
        write_latency_csv(TABLE, path)
        assert read_latency_csv(str(path), SUMMARY) == TABLE
    assert [child.name for child in tmp_path.iterdir()] == ["times.csv"]
    assert path.read_bytes() == (
        b"site,r,d,ms\r\nbase,,,0.3333333333333333\r\nlayer1,4,1,0.30000000000000004\r\n"
        b'base,16,6,5e-324\r\n"odd, ""path""\n@2",4,2,0.0\r\n'
    )


def read(tmp_path: Path, text: str | bytes) -> LatencyTable:
    path = tmp_path / "times.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_latency_csv(path, SUMMARY)


@pytest.mark.parametrize(
    "text",
    [
        "site,r,d,ms\nlayer1,4,1,2\nbase,,,1e1\n",
        "site,r,d,ms\r\nbase,,,10\r\nlayer1,4,1,2.0",
        '\ufeff"site","r","d","ms"\r\n"base","","","10.0"\r\n"layer1","4","1","2"\r\n\r\n',
    ],
)
def test_other_tools_write_it_otherwise(tmp_path, text) -> None:
    expected = (10.0, (LatencyEntry("layer1", 4, 1, 2.0),), None, None)
    result = read(tmp_path, text)
    assert (result.base_ms, result.entries, result.conditions, result.error) == expected


HEAD = "site,r,d,ms\nbase,,,10\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header must be site,r,d,ms"),
        ("base,,,10\n", "line 1: the header must be site,r,d,ms"),
        ("site,d,r,ms\n", "line 1: the header must be"),
        ("site,r,d,ms\n", "lacks the row of the base: add one like 'base,,,12.5'"),
        (
            HEAD + "layer1,4,1,2\n\nlayer1,4,1,3\n",
            "line 5, column site: layer1 with r=4, d=1 twice",
        ),
        (HEAD + "base,,,9\n", "line 3, column site: a second row for the base"),
        (HEAD + "layer9,4,1,2\n", "line 3, column site: net has no site 'layer9'"),
        (HEAD + "layer1,4,1\n", "line 3: 3 columns, not the 4"),
        (HEAD + "layer1,4,1,2,\n", "line 3: 5 columns, not the 4"),
        (HEAD + "layer1,0,1,2\n", "line 3, column r: .* not '0'"),
        (HEAD + "layer1,,1,2\n", "line 3, column r: .* not ''"),
        (HEAD + "base,4,,2\n", "line 3, column d: .* not ''"),
        (HEAD + "layer1,4,-1,2\n", "line 3, column d: .* not '-1'"),
        (HEAD + "layer1,4,1.0,2\n", "line 3, column d: .* not '1.0'"),
        (HEAD + "layer1,1_0,1,2\n", "line 3, column r: .* not '1_0'"),
        (HEAD + "layer1,²,1,2\n", "line 3, column r: .* not '²'"),
        (HEAD + f"layer1,{'9' * 5000},1,2\n", "line 3, column r"),
        (HEAD + "layer1,4,1,-2\n", "line 3, column ms: .* not '-2'"),
        (HEAD + "layer1,4,1,nan\n", "line 3, column ms: .* not 'nan'"),
        (HEAD + "layer1,4,1,1e999\n", "line 3, column ms: .* not '1e999'"),
        (HEAD + "layer1,4,1,1_0\n", "line 3, column ms: .* not '1_0'"),
        (HEAD + "layer1,4,1,\n", "line 3, column ms: .* not ''"),
        (HEAD + 'layer1,4,1,"2\n', "line 3: unexpected end of data"),
        (HEAD + 'layer1,4,1,"2"3\n', "line 3: "),
        ("site,r,d,ms\nbase,,,0\n", "line 2, column ms: the base cannot take 0 ms"),
        (HEAD.encode() + b"layer\xff,4,1,2\n", "line 3: not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(tmp_path, text, message) -> None:
    with pytest.raises(InvalidValueError, match=message):
        read(tmp_path, text)


def test_files_that_cannot_be(tmp_path, monkeypatch) -> None:
    with pytest.raises(InvalidValueError, match=r"none\.csv cannot be read: No such file"):
        read_latency_csv(tmp_path / "none.csv", SUMMARY)
    with pytest.raises(OutputError, match="cannot be written"):
        write_latency_csv(TABLE, Path("/proc/none/times.csv"))
    path = tmp_path / "times.csv"
    write_latency_csv(TABLE, path)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_latency_csv(dataclasses.replace(TABLE, base_ms=2.0), path)
    assert read_latency_csv(path, SUMMARY) == TABLE
    assert [child.name for child in tmp_path.iterdir()] == ["times.csv"]
