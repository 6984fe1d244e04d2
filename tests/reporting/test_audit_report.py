"""The report of an audit, in every format, of a record worked out by hand."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bamsearch.records import ANOTHER_SEED, Audit, Budget, cited
from bamsearch.reporting.audit import AuditReport, score_names
from bamsearch.reporting.charts.audit import agreements_spec, scatter_spec
from bamsearch.reporting.charts.look import standalone, svg
from bamsearch.reporting.content import make_report
from bamsearch.reporting.csv_tables import audit_csv
from bamsearch.reporting.documents import AuditDocument

EVIL = "<script>alert(1)</script>"


def begun(audit: Audit) -> Audit:
    designs = tuple(replace(design, accuracies=(), scores={}) for design in audit.designs)
    return replace(
        audit,
        designs=designs,
        agreements=(),
        ceilings=(),
        effects=(),
        default=None,
        verdict="",
        remarks=(),
    )


def document(audit: Audit, name: str) -> AuditDocument:
    return AuditDocument(audit, Path(name), name)


def test_markdown(audit, golden):
    golden(document(audit, "net-digits-001").text("md"), "audit.md")


def test_markdown_of_an_audit_that_has_just_started(audit, golden):
    golden(document(begun(audit), "net-digits-001").text("md"), "audit_begun.md")


def test_the_answer_stands_first_in_the_page_and_nothing_runs_in_it(audit):
    page = document(audit, "a").text("html")
    assert page.index(audit.verdict) < page.index("How far scores agree")
    assert "<script" not in page
    assert "script-src 'none'" in page
    for text in ("0.35 [0.00, 0.60]", "+0.04 [-0.10, +0.15]", "+0.39 [+0.23, +0.55]"):
        assert text in page
    assert document(audit, "a").text("html") == page


def test_what_a_record_holds_is_text_in_the_page(audit):
    evil = replace(audit, name=EVIL, verdict=EVIL, command=EVIL, remarks=(EVIL,))
    assert EVIL not in document(evil, EVIL).text("html")
    assert "\\<script\\>" in document(evil, "a").text("md")


def test_scores_are_in_the_order_of_their_worth(audit):
    assert score_names(audit) == ["snip", "params", ANOTHER_SEED, "train"]
    report = AuditReport(audit, "a")
    names = [row[0] for row in report.agreements["tau"].rows]
    assert names[:2] == ["snip", "params"]
    assert report.reasons == ("params, size held fixed: it is the size itself.",)


def test_designs_from_the_most_accurate_on(audit):
    rows = AuditReport(audit, "a").designs.rows
    assert [row[1] for row in rows] == ["83.75", "83.00", "81.50", "80.75", "80.50", "diverged"]
    assert rows[0] == (
        "layer1 r4 d1, layer2 r4 d1",
        *("83.75", "84.00", "83.50"),
        *("0.002 M", "0.00011", "yes"),
    )
    assert rows[-1][2:4] == ("82.00", "diverged")


def test_csv_has_a_row_a_design(audit):
    rows = list(csv.DictReader(io.StringIO(audit_csv(audit), newline="")))
    assert len(rows) == 6
    (
        base,
        both,
        *_,
    ) = rows
    assert base["score (snip)"] == base["layer1 r"] == ""
    assert both["accuracy (%), mean"] == "83.75"
    assert both["accuracy (%), seed 1"] == "83.5"
    assert (both["layer1 r"], both["layer2 d"], both["parameters"]) == ("4", "1", "1800")
    assert (both["in band"], base["in band"]) == ("True", "False")
    assert rows[3]["accuracy (%), mean"] == rows[3]["accuracy (%), seed 1"] == ""
    assert len(list(csv.DictReader(io.StringIO(audit_csv(begun(audit)), newline="")))) == 6


def test_json_is_the_answer_and_the_record(audit):
    content = json.loads(document(audit, "a").text("json"))
    assert content["answer"]["default"] == "params"
    assert content["answer"]["headline"] == audit.verdict
    assert Audit.from_json(json.dumps(content["audit"])) == audit


@pytest.mark.parametrize("make", [agreements_spec, scatter_spec])
def test_charts_are_drawn_the_same_each_time_and_of_nothing_too(audit, make):
    drawn = standalone(svg(make(audit)))
    assert drawn == standalone(svg(make(audit)))
    assert "var(" not in drawn
    assert "NaN" not in drawn
    ElementTree.fromstring(drawn)
    assert re.search("no (results|training has finished) yet", svg(make(begun(audit))))


def test_what_is_drawn(audit):
    texts = "".join(ElementTree.fromstring(svg(agreements_spec(audit))).itertext())
    for text in ("snip", "params", "train (one seed)", "inside the band", "size held fixed"):
        assert text in texts
    spec = scatter_spec(audit)
    for panel, title, designs in zip(
        spec["hconcat"], ("parameters, M", "snip"), (5, 4), strict=True
    ):
        assert panel["layer"][1]["encoding"]["x"]["title"] == title
        # The one that diverged is nowhere, the base not where a score is.
        assert len(spec["datasets"][panel["data"]["name"]]) == designs


@pytest.mark.parametrize(
    ("limits", "setting", "where"),
    [
        ((120_000, 120_000), "band", "inside the budget is 0.35"),
        ((120_000, 110_000), "band", "inside the budget of the audit is 0.35"),
        ((None, None), "band", "in the most expensive quarter is 0.35"),
        ((120_000, 120_000), "space", "over the sample is 0.35"),
    ],
)
def test_a_search_says_what_an_audit_found(audit, record, limits, setting, where):
    budget, searched = (
        () if limit is None else (Budget("gflops", "", limit, 100_000),) for limit in limits
    )
    agreements = tuple(
        agreement for agreement in audit.agreements if agreement.setting in (setting, "space")
    )
    audit = replace(audit, budgets=budget, agreements=agreements)
    run = replace(record.run, budgets=searched, audit=cited(audit, "snip", searched))
    first = make_report(replace(record, run=run), "a").answer.remarks[0]
    designs = 5 if setting == "band" else 9
    assert first == (
        "Nothing was trained; snip was audited on digits (audit net-digits-001): Kendall's tau "
        f"with trained accuracy {where} [0.00, 0.60] over {designs} designs; "
        "between two seeds 0.45. The score was drawn once: the interval does not include the noise "
        "of the draw."
    )
    several = tuple(
        replace(agreement, draws=8, one_draw=0.28, draw_sd=0.083) for agreement in agreements
    )
    result = cited(replace(audit, agreements=several), "snip", searched)
    run = replace(record.run, budgets=searched, audit=result)
    assert (
        make_report(replace(record, run=run), "a")
        .answer.remarks[0]
        .endswith(
            "0.45. Its ranks were averaged over 8 draws; a single draw, as used here, has 0.28."
        )
    )
    other = replace(record, run=replace(run, score="zico"))
    assert "zico has not been audited" in make_report(other, "a").answer.remarks[0]


def with_draws(audit: Audit) -> Audit:
    """snip with two draws: its ranks over six designs, one of which lacks a rank."""
    second = (None, 1.0, 5.0, 4.0, 4.0, 9.0)
    designs = tuple(
        replace(design, scores={**design.scores, "snip": (design.scores["snip"][0], other)})
        for design, other in zip(audit.designs, second, strict=True)
    )
    agreements = tuple(
        replace(agreement, draws=2, one_draw=0.284, draw_sd=0.083)
        if agreement.score == "snip"
        else agreement
        for agreement in audit.agreements
    )
    return replace(audit, designs=designs, agreements=agreements, score_seeds=2)


def test_several_draws_are_ranks_and_one_draw_has_a_column(audit):
    drawn = with_draws(audit)
    table = AuditReport(drawn, "a").agreements["tau"]
    assert table.header[-1] == "one draw, inside the band"
    assert [row[-1] for row in table.rows] == ["0.28 (sd 0.08)", "–", "–", "–"]
    assert AuditReport(audit, "a").agreements["tau"].header == table.header[:-1]
    rows = list(csv.DictReader(io.StringIO(audit_csv(drawn), newline="")))
    # Ranks of 9.5, 3, 4, 6, 7 are 5, 1, 2, 3, 4; those of 1, 5, 4, 4, 9 are 1, 4, 2.5, 2.5, 5.
    ranks = [row["score (snip), mean rank of 2 draws"] for row in rows]
    assert ranks == ["", "3.0", "2.5", "2.25", "2.75", "4.5"]
    assert rows[1]["score (params)"] == "1800.0"
    assert Audit.from_json(drawn.to_json()) == drawn
    titles = [p["layer"][1]["encoding"]["x"]["title"] for p in scatter_spec(drawn)["hconcat"]]
    assert titles == ["parameters, M", "snip, mean rank of 2 draws"]


def test_what_the_intervals_are_over(audit):
    once = AuditReport(audit, "a")
    assert "bootstrap intervals over designs;" in once.intervals
    assert "Scores drawn once (snip): the interval does not include the noise" in once.intervals
    for format in ("md", "html"):
        assert "Scores drawn once (snip)" in document(audit, "a").text(format)
    several = AuditReport(with_draws(audit), "a").intervals
    assert "95% bootstrap intervals over designs and draws of the score;" in several
    assert "drawn once" not in several
    assert ("score seeds", "0 to 1") in AuditReport(with_draws(audit), "a").provenance.rows


def test_files(audit, tmp_path):
    written = AuditDocument(audit, tmp_path / "a").write()
    names = ["report.md", "report.html", "report.json", "designs.csv"]
    assert {path.name for path in written} == {*names, "agreement.svg", "accuracy.svg"}
    before = {path: path.read_bytes() for path in written}
    AuditDocument(audit, tmp_path / "a").write()
    assert {path: path.read_bytes() for path in written} == before
    assert "![Tau" in (tmp_path / "a" / "report.md").read_text()
    only = AuditDocument(audit, tmp_path / "b").write(None, ["csv"])
    assert [path.name for path in only] == ["designs.csv"]
