"""Several runs side by side."""

import json
from dataclasses import replace

import pytest

from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunsDocument
from bamsearch.reporting.tables import several_notes, several_table


@pytest.fixture
def reports(record, record_with, empty):
    other = record_with(name="other", sampler="tpe")
    return [make_report(record, "net-001"), make_report(other, "other"), make_report(empty, "new")]


def test_a_row_a_run(reports):
    table = several_table(reports)
    assert table.header[:9] == (
        "run",
        "model",
        "space",
        "budget",
        "sampler",
        "trials",
        "score",
        "best",
        "best random",
    )
    first, second, third = table.rows
    assert first[0] == "net-001"
    assert first[4:9] == ("gp", "4 of 4", "snip", "9.0000", "8.0000")
    assert first[-1] == "layer2 r4 d2"
    # 1,100 parameters on 1,000 and 101,000 multiply-adds on 100,000.
    assert first[-5:-1] == ("0.001 M", "+10.00%", "0.00010", "+1.00%")
    assert second[4] == "tpe"
    assert third[5:9] == ("0 of 4", "snip", "none yet", "–")
    assert third[-1] == "–"
    assert {len(row) for row in table.rows} == {len(table.header)} == {len(table.align)}


def test_a_trained_run_adds_columns(record, trained):
    table = several_table([make_report(record, "a"), make_report(trained, "b")])
    assert table.header[-3:] == ("accuracy", "does it help?", "design")
    assert [row[-3:-1] for row in table.rows] == [
        ("not trained", "unknown"),
        ("90.41% [90.00, 90.80]", "better"),
    ]


def test_which_scores_can_be_compared(record, record_with, reports):
    assert several_notes(reports)[0].endswith("scores are comparable.")
    other = make_report(record_with(name="c", score="params"), "c")
    notes = several_notes([*reports, other])
    assert notes[0] == (
        "Scores are not comparable across models, inputs or scores. "
        "Within net-001, other, new (net 3×32×32, snip) they are."
    )
    alone = several_notes([reports[0], other])[0]
    assert alone == "Scores are not comparable across models, inputs or scores."


@pytest.mark.parametrize("format", ["md", "html", "csv", "json"])
def test_every_format_names_every_run_and_the_same_bytes_come_twice(reports, format):
    text = RunsDocument(reports).text(format)
    assert text == RunsDocument(reports).text(format)
    assert all(name in text for name in ("net-001", "other"))
    # A run without trials has no row of CSV.
    assert ("new" in text) == (format != "csv")


def test_a_name_with_markup_stays_text(record):
    strange = replace(record, run=replace(record.run, name="<script>alert(1)</script>"))
    both = [make_report(record, "a"), make_report(strange, "<script>alert(1)</script>")]
    assert "<script>alert" not in RunsDocument(both).text("html")
    before_the_fences = RunsDocument(both).text("md").partition("## Reproduce")[0]
    assert "<script>alert" not in before_the_fences


def test_the_json_of_several_has_each_report(reports):
    value = RunsDocument(reports).value()
    assert [run["run"] for run in value["runs"]] == ["net-001", "other", "net-001"]
    json.dumps(value, allow_nan=False)
