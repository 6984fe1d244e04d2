"""Traces are what torch.profiler writes: JSON with the calls in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from bamsearch.errors import OutputError
from bamsearch.profiling.traces import write_trace
from bamsearch.profiling.workload import workload


def test_the_calls_are_in_it(tmp_path: Path) -> None:
    work = workload(nn.Conv2d(3, 2, 1), (3, 4, 4), device="cpu")
    write_trace(work, tmp_path / "trace.json")
    names = {
        event["name"]
        for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        if "name" in event
    }
    assert "aten::conv2d" in names
    assert {f"call {number}" for number in range(5)} <= names


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    work = workload(nn.Conv2d(3, 2, 1), (3, 4, 4), device="cpu")
    with pytest.raises(OutputError, match="cannot be written"):
        write_trace(work, tmp_path / "no" / "trace.json")
