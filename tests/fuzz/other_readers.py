"""Readers of designs, ``RUN@K``, caches, latency tables, spaces and the database's trials."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bamsearch.graph.designs import find_design, is_design
from bamsearch.profiling import cache
from bamsearch.profiling.latency_csv import read_latency_csv
from bamsearch.records import (
    DeviceFacts,
    HeldOut,
    Insertion,
    LatencyConditions,
    LatencyEntry,
    LatencyFit,
    LatencyTable,
    ModelSummary,
)
from bamsearch.records.run_files import read_run
from bamsearch.space.space import read_space
from bamsearch.study.store import as_insertions

from .mutations import spoil_bytes
from .reader import REPORTS, REPOSITORY, RUNS, Reader


def other_readers(folder: Path) -> dict[str, Reader]:
    """Readers by name; folder is for files."""
    return {**_designs(folder), **_caches(folder), **_rest(folder)}


def _designs(folder: Path) -> dict[str, Reader]:
    path = folder / "design" / "design.json"
    path.parent.mkdir()
    designs = tuple(path.read_bytes() for path in sorted(REPORTS.rglob("best/design.json")))

    def design(content: bytes) -> object:
        path.write_bytes(content)
        return find_design(path), find_design(path.parent)

    def argument(content: bytes) -> object:
        text = content.decode(errors="surrogateescape").replace("\0", "")
        is_design(text)
        return find_design(text)

    names = tuple(f"{RUNS['plain']}{end}".encode() for end in ("", "@1", "@16", "@016"))
    odd = [b"@", b"@0", b"@-1", "@²".encode(), "@٣".encode(), b"@" + b"9" * 5000, b"@1@2", b"/..@1"]

    def spoil(content: bytes, pick: Any) -> bytes:
        return pick([content + pick(odd), pick(odd), content[: pick(range(len(content)))] + b"@1"])

    return {
        "design.json": Reader(designs, design),
        "RUN@K": Reader(names, argument, True, spoil),
    }


def _caches(folder: Path) -> dict[str, Reader]:
    os.environ["BAMSEARCH_CACHE"] = str(folder / "cache")
    summary = read_run(RUNS["plain"]).summary
    key = {"model": summary.model, "size": [224, 224]}
    table = _latency_table()

    def entry(text: bytes, forged: bool, parse: Callable[[str], Any], kind: str) -> Any:
        path = cache._path(key, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        checksum = b"0" * 64
        if forged:
            checksum = cache._checksum(key, text.decode(errors="replace")).encode()
        path.write_bytes(checksum + b"\n" + text)
        return cache.read(key, parse, kind)

    def counted(content: bytes) -> object:
        assert entry(content, False, ModelSummary.from_json, "summaries") is None
        entry(content, True, ModelSummary.from_json, "summaries")
        result = cache.read_summary(key)
        assert result is None or result.model == summary.model
        return result

    def timed(content: bytes) -> object:
        assert entry(content, False, LatencyTable.from_json, "latencies") is None
        result = entry(content, True, LatencyTable.from_json, "latencies")
        if result is not None and result.entries:
            first = result.entries[0]
            result.predict([Insertion(first.site, first.reduction, first.dilation)])
        return result

    def times(content: bytes) -> object:
        path = folder / "times.csv"
        path.write_bytes(content)
        return read_latency_csv(path, summary)

    rows = "\r\n".join(("site,r,d,ms", "base,,,12.5", "layer1,4,1,0.25", "layer2,16,4,0.5", ""))
    return {
        "cache: summary": Reader((summary.to_json().encode(),), counted),
        "cache: latencies": Reader((table.encode(),), timed),
        "latencies.csv": Reader((rows.encode(),), times),
    }


def _latency_table() -> str:
    device = DeviceFacts("cpu", "a CPU", 1, None, {"torch": "2.14"})
    return LatencyTable(
        "net",
        (3, 16, 24),
        "backbone",
        12.5,
        (LatencyEntry("one", 4, 1, 0.1), LatencyEntry("one", 4, 2, 0.0)),
        LatencyConditions("paper", "paper", 1, "float32", "contiguous", "eager", False, device),
        LatencyFit(0.5, 0.25, (HeldOut((Insertion("one"),), 12.6, 12.5, 12.0, 13.0),)),
    ).to_json()


def _rest(folder: Path) -> dict[str, Reader]:
    toml = tuple(
        path.read_bytes() for path in sorted((REPOSITORY / "search_spaces").glob("*.toml"))
    )

    def space(content: bytes) -> object:
        path = folder / "space.toml"
        path.write_bytes(content)
        return read_space(str(path))

    def spoil_toml(content: bytes, pick: Any) -> bytes:
        if pick([True, False]):
            return spoil_bytes(content, pick)
        name, _, _ = pick(content.decode().splitlines()).partition("=")
        deep = "[" * 5000 + "]" * 5000
        values = ["1" * 5000, deep, "nan", "1e400", "[1]", "[1" + "0" * 30 + "]", "true", '"a"']
        values += ["1979-05-27", "{a = 1}", "[[]]", "[true]", '["a"]', "[1.5]", '"\\u0000"']
        return (
            content
            + f"\n{name}x = {pick(values)}\n".encode()
            + pick([b"", f"[at.layer1]\n{name} = {pick(values)}\n".encode()]).replace(b"x =", b"=")
        )

    def trial(content: bytes) -> object:
        return as_insertions(content.decode(errors="surrogateescape"))

    return {
        "space.toml": Reader(toml, space, False, spoil_toml),
        "trial in the database": Reader((b'[["layer1", 4, 2], ["layer2", 16, 1]]',), trial),
    }
