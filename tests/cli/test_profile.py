"""``bamsearch profile``: the screen, CSV and JSON, with a clock that does not measure."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

import bamsearch.profiling.timing as timing
import bamsearch.profiling.workload as workload
from bamsearch import Design, Insertion, save
from bamsearch.records import DeviceFacts

Run = Callable[..., Result]


class SteadyClock:
    """Every sample takes a little longer than the one before: 10.00 ms, 10.01 ms, …"""

    def __init__(self) -> None:
        self.taken = itertools.count()

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        return 10 + next(self.taken) / 100


@pytest.fixture(autouse=True)
def _one_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Times and names are those of no machine in particular."""
    monkeypatch.chdir(tmp_path)
    save(Design("resnet18", (3, 64, 64), (Insertion("layer2", 8, 2), Insertion("layer3"))), "r18b")
    monkeypatch.setattr(timing, "clock_for", lambda *_: SteadyClock())
    facts = DeviceFacts("cpu", "Some CPU", 1, None, {"torch": "2.x"})
    monkeypatch.setattr(workload, "device_facts", lambda *_: facts)


def test_the_screen(bamsearch_cli: Run, golden: Callable[[str, str], None]) -> None:
    result = bamsearch_cli("profile", "resnet18", "r18b", "--input-size", "64", "--samples", "8")
    assert result.exit_code == 0, result.stderr
    golden(result.stdout, "profile.txt")
    assert "Next:" in result.stderr


def test_modules(bamsearch_cli: Run, golden: Callable[[str, str], None]) -> None:
    result = bamsearch_cli("profile", "resnet18", "--no-time", "--depth", "2")
    assert result.exit_code == 0, result.stderr
    golden(result.stdout, "profile_modules.txt")
    # published: 11,689,512 parameters; fc is 512 x 1000 weights and 1000 biases
    assert "11,689,512" in result.stdout
    assert "513,000" in result.stdout


def test_csv_is_read_back(bamsearch_cli: Run) -> None:
    arguments = ["profile", "resnet18", "r18b", "--input-size", "64", "--samples", "8"]
    result = bamsearch_cli(*arguments, "--mode", "eager", "--mode", "cudagraph", "--csv")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert list(table["network"]) == ["resnet18", "resnet18", "r18b", "r18b"]
    assert list(table["mode"]) == ["eager", "cudagraph"] * 2
    assert table["params"].iloc[0] == 11_689_512
    assert table["median_ms"].notna().tolist() == [True, False, True, False]
    header = next(csv.reader(io.StringIO(result.stdout)))
    assert header == list(table.columns)


def test_json_has_the_raw_samples(bamsearch_cli: Run) -> None:
    arguments = ["profile", "resnet18", "r18b", "--input-size", "64", "--samples", "8"]
    result = bamsearch_cli(*arguments, "--json", "--memory")
    base, inserted = json.loads(result.stdout)["networks"]
    assert base["params"] == 11_689_512
    assert len(inserted["measured"][0]["timing"]["samples"]) >= 8
    low, ratio, high = inserted["measured"][0]["ratio"]
    assert low <= ratio <= high
    assert [site["site"] for site in inserted["measured"][0]["sites"]] == ["layer2", "layer3"]
    assert inserted["memory"][1]["bytes"] > base["memory"][1]["bytes"]
    assert base["modules"]["layer1.0"]["params"] == 2 * (64 * 64 * 9 + 128)


def test_a_latency_table_is_read(bamsearch_cli: Run) -> None:
    # DESIGN's r and d at its two sites, from another device
    rows = ["site,r,d,ms", "base,,,7", "layer2,8,2,0.5", "layer3,16,4,0.25"]
    Path("target.csv").write_text("\n".join(rows) + "\n")
    arguments = ["profile", "resnet18", "r18b", "--input-size", "64", "--no-time"]
    result = bamsearch_cli(*arguments, "--latency-table", "target.csv")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-2].split() == ["r18b", "7.750"]
    assert "was not measured" in result.stdout
    arguments += ["--latency-table", "target.csv"]
    table = pd.read_csv(io.StringIO(bamsearch_cli(*arguments, "--csv").stdout))
    assert table["predicted_ms"].iloc[1] == 7.75
    assert table["predicted_ms"].isna().tolist() == [True, False]
    latency = json.loads(bamsearch_cli(*arguments, "--json").stdout)["latency_table"]
    assert latency == {"base_ms": 7.0, "predicted_ms": {"r18b": 7.75}, "error": None}


def test_a_batch_that_is_reduced_is_said(
    bamsearch_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = "bamsearch.api.profile.largest_batch"
    monkeypatch.setattr(fits, lambda models, shape, **conditions: conditions["batch_size"] // 4)
    line = ["profile", "squeezenet1_1", "--input-size", "64", "--samples", "3", "--batch-size", "8"]
    result = bamsearch_cli(*line, "--fit-batch")
    assert "warning: a batch of 8 does not fit into memory: using 2" in result.stderr
    assert "batch 2" in result.stdout


def test_a_trace_is_written(bamsearch_cli: Run) -> None:
    line = ["profile", "squeezenet1_1", "--input-size", "64", "--no-time", "--trace", "trace.json"]
    result = bamsearch_cli(*line)
    assert result.exit_code == 0, result.stderr
    assert "Written   trace.json" in result.stderr
    assert json.loads(Path("trace.json").read_text())["traceEvents"]
    Path("trace.json").write_text("mine")
    refused = bamsearch_cli(*line)
    assert (refused.exit_code, Path("trace.json").read_text()) == (2, "mine")
    assert "add --force" in refused.stderr
    assert bamsearch_cli(*line, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet81"], "did you mean resnet18"),
        (["resnet18", "nowhere/design.json"], "no design at nowhere"),
        (["resnet18", "--no-time", "--device", "cuda"], "device cuda does not exist"),
        (["resnet18", "--device", "tpu"], "not one of auto, cpu"),
        (["resnet18", "--json", "--csv"], "choose one"),
        (["r18b", "--no-time", "--latency-table", "x.csv"], "needs the MODEL without BAM"),
        (["inception_v3", "--input-size", "32"], "does not accept an input of 3x32x32"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(bamsearch_cli: Run, arguments: list[str], message: str) -> None:
    result = bamsearch_cli("profile", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_design_whose_model_is_gone(bamsearch_cli: Run) -> None:
    save(Design("gone.py:net", (3, 64, 64), (Insertion("layer2"),)), "orphan")
    result = bamsearch_cli("profile", "orphan")
    assert result.exit_code == 2
    assert "gone.py" in result.stderr
    assert "already has BAM" not in result.stderr  # a design is what profile takes


def test_a_mode_that_fails_is_reported(bamsearch_cli: Run) -> None:
    line = ["profile", "squeezenet1_1", "--input-size", "64", "--samples", "8"]
    result = bamsearch_cli(*line, "--mode", "cudagraph", "--mode", "eager")
    assert result.exit_code == 0
    assert "squeezenet1_1: not timed:" in result.stdout
    assert "eager" in result.stdout


def test_a_latency_table_is_measured_in_the_mode_asked_for(bamsearch_cli: Run) -> None:
    # no CUDA graph without CUDA: measured in another mode, the table would not show it
    line = ["profile", "squeezenet1_1", "--input-size", "64", "--no-time", "--mode", "cudagraph"]
    result = bamsearch_cli(*line, "--latency-table", "new.csv")
    assert result.exit_code == 2
    assert "cudagraph" in result.stderr
    assert not Path("new.csv").exists()


def test_the_seed_is_that_of_the_interval(
    bamsearch_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    real = timing.paired_ratio

    def spy(a: list[float], b: list[float], *, seed: int) -> tuple[float, float, float]:
        seeds.append(seed)
        return real(a, b, seed=seed)

    monkeypatch.setattr(timing, "paired_ratio", spy)
    line = ["profile", "resnet18", "r18b", "--input-size", "64", "--samples", "8", "--seed", "7"]
    assert bamsearch_cli(*line).exit_code == 0
    assert seeds == [7]
