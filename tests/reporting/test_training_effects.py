"""What mattered, in every format, against the record in tests/reporting/conftest.py."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from bamsearch.records import Gain
from bamsearch.records.run_files import trial_line
from bamsearch.reporting.answer import answer
from bamsearch.reporting.as_json import json_value, schema_text
from bamsearch.reporting.charts.curves import curve_spec
from bamsearch.reporting.charts.intervals import effects_spec, ranking_spec
from bamsearch.reporting.charts.look import PALETTE, standalone, svg
from bamsearch.reporting.charts.pareto import Point, pareto_data
from bamsearch.reporting.comparison import differences
from bamsearch.reporting.content import make_report
from bamsearch.reporting.csv_tables import csv_text, effects_csv
from bamsearch.reporting.markdown import markdown
from bamsearch.reporting.page import html_page
from bamsearch.reporting.run_statistics import curve_sentence, importances, size_correlation
from bamsearch.reporting.tables import compared_score
from bamsearch.reporting.text import design_text
from bamsearch.reporting.training_effects import chance_text, effect_text, training_effects

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def folder(tmp_path, learned) -> Path:
    """The record as it lies on disk."""
    run_folder = tmp_path / "net-train"
    run_folder.mkdir()
    (run_folder / "run.json").write_text(learned.run.to_json())
    (run_folder / "learned.json").write_text(learned.analysis.to_json())
    lines = [trial_line(trial, None) for trial in learned.trials]
    lines += [trial_line(trial, kind) for kind, trial in learned.baselines]
    (run_folder / "trials.jsonl").write_text("".join(lines))
    return run_folder


def test_the_largest_effect_first_and_each_design_by_its_role(learned):
    result = training_effects(learned)
    assert [effect_text(effect) for effect in result.effects] == [
        "BAM at layer2",
        "BAM at layer1",
        "r doubled",
    ]
    assert [estimate.label for estimate in result.ranking] == [
        "1 best design",
        "2",
        "3",
        "4 base",
        "5 paper default",
        "6",
    ]
    # two of the best, and those to compare them with
    assert [estimate.rank for estimate in result.top(2)] == [1, 2, 4, 5]
    assert result.sentence == (
        "8 trainings of 6 designs; the standard deviation of one training is 0.31 points."
    )
    together = replace(result.effects[0], sites=("layer1", "layer3"))
    assert effect_text(together) == "BAM at layer1 and layer3"


def test_other_runs_have_none(record, learned):
    assert training_effects(record) is None
    assert training_effects(replace(record, analysis=learned.analysis)) is None
    assert make_report(record, "x").trained is False


@pytest.mark.parametrize(
    ("chance", "text"),
    [(0.0, "<1%"), (0.004, "<1%"), (0.25, "25%"), (0.99, "99%"), (0.999, ">99%"), (1.0, ">99%")],
)
def test_a_chance_is_not_certainty(chance, text):
    assert chance_text(chance) == text


def test_a_design_counts_once_with_its_expected_accuracy(learned):
    report = make_report(learned, "net-train")
    # layer2 r4 d2 twice, the pair's lucky 92.0 read as 91.2, one of layer2 r8 d1
    assert pareto_data(report).trials == (
        Point("search", 101e-6, 91.3),
        Point("search", 102e-6, 91.2),
        Point("search", 101e-6, 91.0),
    )
    assert pareto_data(report).y.title == "expected accuracy, %"
    assert report.sizes.designs == 4  # those and the paper's; neither the base nor what failed
    assert report.curves.search == (91.3,) * 6
    assert [row.score for row in report.comparison] == [90.8, 90.7, None, None, 91.3]


def test_expected_accuracies_have_intervals_and_no_bare_difference(learned):
    rows = make_report(learned, "x").comparison
    assert [compared_score(row) for row in rows] == [
        "90.80 [90.40, 91.20]",
        "90.70 [90.10, 91.30]",
        "not scored yet",
        "not scored yet",
        "91.30 [90.95, 91.65]",
    ]
    change = differences(rows[-1], rows[0])
    assert (change.score, change.params) == ("", "+10.00%")


def test_the_size_correlation_is_of_expected_accuracies(learned):
    # 91.3, 91.2, 91.0, 90.7 with 1, 2, 1, 2 BAMs: ranks 4 3 2 1 and 1.5 3.5 1.5 3.5 have
    # covariance -1 * 2 / 2, over sqrt(5 * 4): rho = -2 / sqrt(20)
    assert size_correlation(learned).bams == pytest.approx(-2 / 20**0.5)


def test_the_curve_is_not_of_lucky_trainings(learned):
    swapped = replace(learned, trials=(learned.trials[5], *learned.trials[:5]))
    report = make_report(swapped, "x")
    assert report.curves.search == (91.0, 91.3, 91.3, 91.3, 91.3, 91.3)
    said = curve_sentence(report.curves)
    assert said.startswith("The best expected accuracy, 91.300, was reached at trial 2 of 6")
    texts = {
        element.text
        for element in ElementTree.fromstring(svg(curve_spec(report))).iter(f"{SVG}text")
    }
    assert {"best expected accuracy so far", "trials"} <= texts


def test_what_was_stopped_did_not_fail(learned):
    health = make_report(learned, "x").health
    assert (health.scored, health.failed, health.stopped) == (4, 1, 1)
    assert health.reasons == (("the loss is no number", 1),)


def test_effects_stand_for_importances(learned):
    designs = [learned.run.design(estimate.insertions) for estimate in learned.analysis.ranking]
    many = [
        replace(learned.trials[0], number=n, design=design)
        for n, design in enumerate(designs * 3)
        if design.insertions
    ]
    assert importances(replace(learned, trials=tuple(many))) == ()


def test_the_answer_says_what_was_trained_and_that_it_is_not_a_test(learned):
    sizes = size_correlation(learned)
    result = answer(learned, sizes, "net-train")
    assert result.verdict == "unknown"
    assert (
        result.headline == "Not known: short trainings on validation images only, no test result."
    )
    assert result.remarks[:2] == (
        "Each accuracy is estimated from short trainings on the validation images; it is not a "
        "test result. Run verify for one.",
        "Expected gain of the best design: +0.50 points over base, 95% [+0.10, +0.90].",
    )
    assert result.remarks[2].startswith("rho of accuracy over 4 designs")
    unsure = replace(learned.analysis, gain=Gain(0.5, -0.1, 1.1))
    said = answer(replace(learned, analysis=unsure), sizes, "x").remarks[1]
    assert said.endswith("95% [-0.10, +1.10], not distinguishable from 0.")
    first, second, *others = learned.analysis.ranking
    above = replace(learned.analysis, ranking=(second, first, *others))
    said = answer(replace(learned, analysis=above), sizes, "x").remarks[1]
    shown = design_text(learned.run.design(second.insertions))
    assert said.startswith(f"Expected gain of {shown}, a baseline that no searched design beats: ")
    alone = replace(learned.analysis, gain=None)
    assert answer(replace(learned, analysis=alone), sizes, "x").remarks[1].startswith("rho of")


def test_a_training_that_has_only_started(learned):
    begun = replace(learned, trials=(), baselines=(), analysis=None)
    nothing = replace(learned.analysis, trainings=0, effects=(), ranking=())
    assert training_effects(replace(begun, analysis=nothing)) is None
    report = make_report(begun, "x")
    assert report.training_effects is None
    assert json_value(report)["mattered"] is None
    for text in (markdown(report, charts=False), html_page(report)):
        assert "No training has a result yet." in text
        assert "What the score depends on" not in text


def test_too_few_designs_have_a_ranking_and_no_effects(learned):
    few = replace(learned, analysis=replace(learned.analysis, effects=()))
    report = make_report(few, "x")
    for text in (markdown(report, charts=True), html_page(report)):
        assert "Too few designs were trained to estimate the effects of sites, r and d." in text
        assert "4 base" in text
        assert "effects.svg" not in text


def test_json_has_all_of_it(learned):
    value = json_value(make_report(learned, "net-train"))
    jsonschema.validate(value, json.loads(schema_text()))
    result = value["mattered"]
    assert (result["trainings"], result["designs"], result["noise"]) == (8, 6, 0.31)
    assert result["effects"][0] == {
        "aspect": "site",
        "sites": ["layer2"],
        "points": 0.42,
        "low": 0.11,
        "high": 0.73,
        "designs": 4,
        "distinguished": True,
    }
    assert result["effects"][1]["distinguished"] is False
    assert result["ranking"][3] == {
        "rank": 4,
        "role": "base",
        "design": {},
        "mean": 90.8,
        "low": 90.4,
        "high": 91.2,
        "trainings": 2,
        "chance": 0.004,
    }
    assert value["importance"] == []
    assert value["health"]["stopped"] == 1


def test_csv_has_each_training_beside_what_is_expected(learned):
    rows = list(csv.DictReader(io.StringIO(csv_text([learned]), newline="")))
    assert [row["score (train, %)"] for row in rows[:4]] == ["91.0", "92.0", "", ""]
    assert [row["expected accuracy (%)"] for row in rows[:4]] == ["91.3", "91.2", "88.5", ""]
    assert [row["rank"] for row in rows] == ["1", "2", "", "", "1", "3", "4", "4", ""]
    assert [row["seed"] for row in rows[:6]] == ["0", "0", "0", "0", "1", "0"]
    assert rows[0]["trainings of the design"] == "2"
    effects = list(csv.DictReader(io.StringIO(effects_csv(learned.analysis.effects), newline="")))
    assert [row["sites"] for row in effects] == ["layer1", "layer2", "layer1 layer2"]
    assert [float(row["low"]) for row in effects] == [-0.4, 0.11, -0.33]
    assert [row["distinguished from 0"] for row in effects] == ["False", "True", "False"]


def test_dots_of_significant_effects_are_filled(learned):
    result = training_effects(learned)
    drawing = standalone(svg(effects_spec(result)))
    assert "var(" not in drawing
    texts = {element.text for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")}
    assert {"BAM at layer2", "BAM at layer1", "r doubled", "points of accuracy"} <= texts
    blue, grey = PALETTE["chart-search"][0], PALETTE["chart-muted"][0]
    dots = [element.attrib for element in ElementTree.fromstring(drawing).iter(f"{SVG}path")]
    fills = [element["fill"] for element in dots if element.get("stroke") in (blue, grey)]
    assert fills == [blue, PALETTE["chart-back"][0], PALETTE["chart-back"][0]]
    ranked = standalone(svg(ranking_spec(result)))
    texts = {element.text for element in ElementTree.fromstring(ranked).iter(f"{SVG}text")}
    assert {"1 best design", "2", "4 base", "5 paper default", "expected accuracy, %"} <= texts


def test_bars_reach_from_end_to_end(learned):
    """On the scale that the dots have: a bar is as long as its interval, whatever the scale is."""
    drawing = ElementTree.fromstring(svg(effects_spec(training_effects(learned))))
    lines = [
        element.attrib
        for element in drawing.iter(f"{SVG}line")
        if element.get("stroke-width") == "2"
    ]
    lengths = [abs(float(element["x2"])) for element in lines]
    assert lengths[0] / lengths[1] == pytest.approx((0.73 - 0.11) / (0.2 + 0.4), rel=1e-3)
    assert lengths[2] / lengths[1] == pytest.approx((0.23 + 0.33) / (0.2 + 0.4), rel=1e-3)


def test_the_page(learned, record):
    page = html_page(make_report(learned, "net-train"))
    assert re.search(r"BAM at layer2</th><td[^>]*>\+0\.42</td><td[^>]*>\[\+0\.11, \+0\.73\]", page)
    assert page.count("not distinguishable from 0</td>") == 2
    assert "What the score depends on" not in page
    assert "not trained" not in page
    plain = html_page(make_report(record, "net-001"))
    assert "What mattered" not in plain
    assert "#effects" not in plain


def test_markdown_as_a_whole(golden, learned):
    golden(markdown(make_report(learned, "net-train"), charts=True), "trained_report.md")


def test_the_terminal_and_the_files(bamsearch_cli, folder, golden, monkeypatch):
    monkeypatch.chdir(folder.parent)
    result = bamsearch_cli("report", "net-train", "-o", "out")
    assert result.exit_code == 0, result.stderr
    golden(result.stdout, "trained_report.txt")
    names = {path.name for path in Path("out").iterdir()}
    assert {"effects.csv", "effects.svg", "ranking.svg", "report.html"} <= names
    assert "](effects.svg)" in Path("out/report.md").read_text()
    bamsearch_cli("report", "net-train", "-o", "again")
    for name in names:
        assert Path("out", name).read_bytes() == Path("again", name).read_bytes()
