"""The CSV of trials: RFC 4180, and pandas reads back what was written."""

import csv
import io
import math
from dataclasses import replace

import pandas as pd
import pytest

from bamsearch.records import Insertion
from bamsearch.reporting.csv_tables import csv_text

STRANGE = ['a,b "c"', "line\nbreak\r\nmore", "<script>alert(1)</script>", "a|b", "日本 é", "=1+1"]


def test_a_row_a_trial_with_units_in_the_header(record):
    text = csv_text([record])
    assert all(line.endswith("\r\n") for line in text.splitlines(keepends=True))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == [
        "number",
        "role",
        "state",
        "rank",
        "pareto",
        "score (snip)",
        "parameters",
        "MACs of one input",
        "GFLOPs (10^9 MACs)",
        "training memory (bytes)",
        "predicted latency (ms)",
        "scoring (s)",
        "retries",
        "reason of failure",
        "layer1 r",
        "layer1 d",
        "layer2 r",
        "layer2 d",
        "layer3 r",
        "layer3 d",
    ]
    assert len(rows) == 4 + 5
    assert [row["role"] for row in rows] == ["trial"] * 4 + ["base", "paper", "largest"] + [
        "random"
    ] * 2
    assert [row["rank"] for row in rows] == ["3", "", "1", "2", "", "", "", "", ""]
    assert [row["pareto"] for row in rows][:4] == ["False", "False", "True", "False"]
    assert rows[1]["reason of failure"] == "out of luck"
    assert (rows[2]["layer2 r"], rows[2]["layer2 d"], rows[2]["layer1 r"]) == ("4", "2", "")


def test_pandas_reads_it_back_without_loss(record):
    awkward = [0.1 + 0.2, 1 / 3, 1e-300, 123456789.123456789, -7.0]
    trials = [
        replace(record.trials[0], number=n, score=score, ms=math.pi, memory=2**53 + n)
        for n, score in enumerate(awkward)
    ]
    table = pd.read_csv(
        io.StringIO(csv_text([replace(record, trials=tuple(trials))]), newline=""),
        dtype={"training memory (bytes)": "Int64"},
        # pandas 2 reads the last digit wrong.
        converters=dict.fromkeys(
            ("score (snip)", "predicted latency (ms)"), lambda text: float(text or "nan")
        ),
    )
    assert table["score (snip)"][:5].tolist() == awkward
    assert table["predicted latency (ms)"][0] == math.pi
    assert table["training memory (bytes)"][:5].tolist() == [2**53 + n for n in range(5)]
    assert table["parameters"].tolist()[:5] == [1200] * 5
    assert table["number"].dtype == "int64"


@pytest.mark.parametrize("name", STRANGE)
def test_names_with_anything_in_them(record, name):
    site = replace(record.run.summary.sites[1], name=name)
    summary = replace(record.run.summary, sites=(site, *record.run.summary.sites[2:]))
    run = replace(record.run, summary=summary, name=name)
    trial = replace(record.trials[0], design=run.design([Insertion(name, 4, 2)]), reason=name)
    text = csv_text([replace(record, run=run, trials=(trial,), baselines=())])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    quoted = {"=1+1": "'=1+1"}.get(name, name)
    assert (row[f"{quoted} r"], row[f"{quoted} d"]) == ("4", "2")
    assert row["reason of failure"] == quoted
    table = pd.read_csv(io.StringIO(text, newline=""))
    assert table[f"{quoted} r"].tolist() == [4]


def test_a_run_without_trials_has_a_header(empty):
    table = pd.read_csv(io.StringIO(csv_text([empty])))
    assert len(table) == 0
    assert "score (snip)" in table.columns


def test_several_runs_are_distinguished(record, record_with):
    other = record_with(name="other", score="params")
    table = pd.read_csv(io.StringIO(csv_text([record, other])))
    assert table["run"].tolist() == ["net-001"] * 9 + ["other"] * 9
    assert table["score (snip)"].isna().tolist() == [False, True] + [False] * 7 + [True] * 9
    assert table["score (params)"][9] == 5.0
