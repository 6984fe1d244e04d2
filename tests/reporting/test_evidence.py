"""Evidence of looks: what its intervals are over, and whether its error rates hold, everywhere."""

import json
from dataclasses import replace

import jsonschema
import pytest

from bamsearch.cli.text.search import _evidence_lines
from bamsearch.records import AnalysisPlan, Difference, Evidence, Opening
from bamsearch.reporting.as_json import json_value, schema_text
from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunDocument, RunsDocument
from bamsearch.reporting.markdown import markdown
from bamsearch.reporting.page import html_page
from bamsearch.reporting.tables import several_table

PLAN = AnalysisPlan(
    "abc123", ("base: no BAM", "found: layer2 r4 d2"), 10_000, 10, (5, 10), 0.03, {}
)
REASON = "Exploratory: the test split was first opened under another plan."


@pytest.fixture
def looked(trained):
    """The record of two looks, over seeds."""
    opening = Opening("2026-01-02T03:04:05+00:00", "bamsearch verify", 0, 5, 1000, "base: better")
    evidence = replace(
        trained.evidence,
        seeds=tuple(range(10_000, 10_010)),
        over="seeds",
        plans=(PLAN,),
        openings=(opening, replace(opening, seeds=10)),
    )
    return replace(trained, evidence=evidence)


def changed(record, **evidence):
    return replace(record, evidence=replace(record.evidence, **evidence))


def every_format(record):
    """The texts in which the evidence is shown, by format."""
    report = make_report(record, "net-001")
    return {
        "terminal": "\n".join(_evidence_lines(report.answer)),
        "md": markdown(report, charts=True).replace("\\", ""),
        "html": html_page(report),
        "json": RunDocument(report).text("json"),
        "several md": RunsDocument([report, report]).text("md").replace("\\", ""),
        "several html": RunsDocument([report, report]).text("html"),
        "several json": RunsDocument([report, report]).text("json"),
    }


@pytest.mark.parametrize(
    ("over", "words", "sentence"),
    [
        ("seeds", "over seeds,", "Intervals cover seeds, on these test images only"),
        ("images", "over seeds and images,", "they hold for other images like these"),
    ],
)
def test_every_format_says_what_intervals_are_over(looked, over, words, sentence):
    for name, text in every_format(changed(looked, over=over)).items():
        assert f"95% [+0.12, +0.70] {words} 5 paired seeds." in text, name
        assert name in ("several md", "several html") or sentence in text, name
    table = f"accuracy, {words[:-1]}"
    shown = every_format(changed(looked, over=over))
    assert table in shown["md"]
    assert table in shown["html"]
    assert f"best design minus this, {words[:-1]}" in shown["md"]
    row = several_table([make_report(changed(looked, over=over), "x")]).rows[0]
    assert row[-3] == f"90.41% [90.00, 90.80] {words[:-1]}"


def test_every_format_says_that_it_is_exploratory_and_why(looked):
    assert not any("xploratory:" in text for text in every_format(looked).values())
    shown = every_format(changed(looked, exploratory=REASON))
    for name, text in shown.items():
        assert "Exploratory: +0.41 points over base" in text, name
        assert REASON in text, name
    row = several_table([make_report(changed(looked, exploratory=REASON), "x")]).rows[0]
    assert row[-2] == "better, exploratory"


def test_every_format_warns_of_seeds_that_the_search_chose_by(looked):
    record = replace(looked, run=replace(looked.run, score="train"))
    said = "Trained with seeds that the search used: the difference is probably too high"
    assert not any(said in text for text in every_format(record).values())
    for name, text in every_format(changed(record, seeds=(7,))).items():  # the run's seed
        assert said in text, name


def test_seeds_needed_are_a_range(looked):
    first = Difference("base", 0.1, -0.6, 0.8, 10, 210, 0.3, seeds_at_least=40)
    for most, said in (
        (210, "; about 40 to 210 seeds would detect 0.3 points with 80% power."),
        (None, "; about 40 seeds or more would detect 0.3 points with 80% power."),
        (10, "10 paired seeds."),
    ):
        report = changed(looked, differences=(replace(first, seeds_needed=most),))
        assert make_report(report, "x").answer.headline.endswith(said)


def test_looks_are_in_the_report_for_programs(looked, trained):
    value = json_value(make_report(looked, "net-001"))
    jsonschema.validate(value, json.loads(schema_text()))
    assert value["evidence"]["over"] == "seeds"
    assert value["evidence"]["exploratory"] is None
    assert [opening["seeds"] for opening in value["evidence"]["openings"]] == [5, 10]
    assert value["evidence"]["plans"][0]["looks"] == [5, 10]
    ranged = replace(looked.evidence.differences[1], seeds_at_least=4)
    more = changed(looked, differences=(looked.evidence.differences[0], ranged))
    jsonschema.validate(json_value(make_report(more, "x")), json.loads(schema_text()))
    assert "evidence" not in json_value(make_report(trained, "net-001"))


def test_a_first_look_in_progress_is_not_evidence_yet(looked):
    begun = changed(looked, accuracies={}, differences=())
    assert make_report(begun, "x").answer.headline.startswith("Not known:")
    every_format(begun)


# As bamsearch 0.1.0 wrote it.
FORMAT_1 = """{"bamsearch_evidence": 1, "data": "digits", "data_hash": "abc123", "confidence": 0.95,
"accuracies": {"base": {"mean": 64.76, "low": 63.84, "high": 65.68, "seeds": 5}},
"differences": [
{"against": "base", "points": 4.876, "low": 2.6018, "high": 7.1502, "seeds": 5,
 "seeds_needed": 176, "detectable": 0.3, "equivalent": false},
{"against": "random", "points": 0.18, "low": -2.3302, "high": 2.6902, "seeds": 5,
 "seeds_needed": 213, "detectable": 0.3, "equivalent": false}],
"command": "bamsearch verify net-001 --epochs 6 --seeds 5", "margin": 0.5, "designs": {"base": []},
"remarks": ["Recipe short, 6 epochs, seeds 0 to 4; tested once, on 10,000 images."]}"""


def test_evidence_of_format_1_is_read(trained):
    evidence = Evidence.from_json(FORMAT_1)
    assert (evidence.seeds, evidence.openings, evidence.over) == ((), (), None)
    record = replace(trained, run=replace(trained.run, score="train"), evidence=evidence)
    answer = make_report(record, "net-001").answer
    assert answer.headline == "+4.88 points over base, 95% [+2.60, +7.15], 5 paired seeds."
    assert answer.warnings == answer.remarks[:1] != ()
    assert answer.remarks[1].endswith("5 paired seeds; about 213 seeds would detect 0.3 points.")
