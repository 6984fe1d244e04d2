"""What is drawn, worked out by hand from the small record, and what an SVG may hold."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bamsearch.records import Budget, RunRecord
from bamsearch.reporting.charts.curves import curve_points, curve_spec, curves_spec
from bamsearch.reporting.charts.look import standalone, svg
from bamsearch.reporting.charts.pareto import Point, pareto_data, pareto_spec, still_spec, thinned
from bamsearch.reporting.content import make_report
from bamsearch.reporting.run_statistics import Curves

SVG = "{http://www.w3.org/2000/svg}"


def pareto_svg(report) -> str:
    return standalone(svg(still_spec(report)))


def curve_svg(report) -> str:
    return standalone(svg(curve_spec(report)))


def texts(svg: str) -> set[str]:
    return {element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")}


def budgeted(record: RunRecord, limit: int) -> RunRecord:
    return replace(record, run=replace(record.run, budgets=(Budget("gflops", "", limit, 100_000),)))


def test_the_points_of_the_pareto_chart(record):
    data = pareto_data(make_report(record, "net-001"))
    # 1,000 multiply-adds a BAM above the base's 100,000; the failed trial is not there
    assert data.trials == (
        Point("random search", 101e-6, 2.0),
        Point("random search", 101e-6, 8.0),
        Point("search", 102e-6, 5.0),
        Point("search", 101e-6, 9.0),
        Point("search", 101e-6, 7.0),
    )
    assert data.marked == (
        Point("base", 100e-6, 1.0),
        Point("paper default", 102e-6, 4.0),
        Point("largest that fits", 102e-6, 6.0),
        Point("best random", 101e-6, 8.0),
        Point("best design", 101e-6, 9.0),
    )
    assert data.front == (Point("best design", 101e-6, 9.0),)
    assert data.joined
    assert (data.x.title, data.y.title) == ("GFLOPs (1 MAC = 1 FLOP, fvcore)", "score")
    assert data.x.low < 100e-6 < 102e-6 < data.x.high
    assert data.y.low < 1 < 9 < data.y.high


@pytest.mark.parametrize(
    ("limit", "on_scale"), [(103_000, True), (104_000, True), (110_000, False), (90_000, False)]
)
def test_the_budget_is_on_the_scale_or_in_words(record, limit, on_scale):
    report = make_report(budgeted(record, limit), "net-001")
    data = pareto_data(report)
    label = f"over the budget, {limit / 1e9:.3g}"
    if on_scale:
        assert data.limit == limit / 1e9
        assert data.limit < data.x.high
        assert data.notes == ()
    else:
        assert data.limit is None
        assert data.notes == (f"The budget, {limit / 1e9:.3g}, is off the scale.",)
    assert (label in texts(pareto_svg(report))) == on_scale


def test_no_budget_of_the_axis_quantity(record):
    run = replace(record.run, budgets=(Budget("params", "+20%", 1200, 1000),))
    data = pareto_data(make_report(replace(record, run=run), "net-001"))
    assert data.limit is None
    assert data.notes == ()


def test_a_budget_of_time_is_in_milliseconds(record_with):
    record = record_with(
        objectives=("ms", "score"), budgets=(Budget("ms", "2", 2_000_000, 1_000_000),)
    )
    timed = replace(
        record, trials=tuple(replace(trial, ms=1 + trial.number / 10) for trial in record.trials)
    )
    data = pareto_data(make_report(timed, "net-001"))
    assert data.x.title == "predicted milliseconds"
    assert data.limit == 2.0
    # references have no time here, and so no place
    assert {point.kind for point in (*data.trials, *data.marked)} == {"search", "best design"}


def test_three_objectives_are_not_a_line(record_with):
    report = make_report(record_with(objectives=("score", "params", "gflops")), "net-001")
    data = pareto_data(report)
    assert data.x.title == "parameters, M"
    assert not data.joined
    assert "three objectives" in " ".join(data.notes)


@pytest.mark.parametrize(("score", "off"), [(-2.0, False), (-1000.0, True)])
def test_a_base_far_off_does_not_squash_the_rest(record, score, off):
    base = replace(record.baselines[0][1], score=score)
    baselines = (("base", base), *record.baselines[1:])
    data = pareto_data(make_report(replace(record, baselines=baselines), "net-001"))
    assert ("The base is off the scale, drawn at its edge." in data.notes) == off
    assert (data.y.low < score) == (not off)
    assert data.y.low < 2 < 9 < data.y.high


def test_a_few_very_low_scores_do_not_squash_the_rest(record):
    trial = record.trials[0]
    many = tuple(replace(trial, number=n, score=5.0 + n / 100) for n in range(100))
    lowest = replace(trial, number=100, score=-1e6)
    data = pareto_data(make_report(replace(record, trials=(*many, lowest)), "net-001"))
    # the one and the base, which has 1, stay on it
    assert 0 < data.y.low < 1
    assert "1 design below the scale, drawn at its edge." in data.notes


def test_the_curves_where_they_change():
    result = Curves(search=(None, 5.0, 5.0, 5.0, 9.0, 9.0, 9.0), random=(2.0, 8.0))
    assert curve_points(result) == [
        Point("search", 2, 5.0),
        Point("search", 5, 9.0),
        Point("search", 7, 9.0),
        Point("random search", 1, 2.0),
        Point("random search", 2, 8.0),
    ]


def test_many_points_on_each_other_are_drawn_once():
    few = [Point("search", 0, 0)] * 3000
    assert thinned(few) == few
    near = [Point("search", n / 1e9, 0) for n in range(4000)]
    far, other = Point("search", 1, 1), Point("random search", 1, 1)
    assert thinned([*near, far, other]) == [near[-1], far, other]


def test_an_svg_stands_alone(record, trained):
    for content in (record, trained, budgeted(record, 103_000)):
        for draw in (pareto_svg, curve_svg):
            drawing = draw(make_report(content, "net-001"))
            root = ElementTree.fromstring(drawing)
            assert root.tag == f"{SVG}svg"
            assert {"score", "best score so far"} & texts(drawing)
            assert "var(" not in drawing
            assert not re.search(r"<script|<image|<foreignObject|href=|url\(", drawing)


def test_the_page_has_its_colours_in_its_hands(record):
    drawing = svg(still_spec(make_report(record, "net-001")))
    used = set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawing))
    assert all(colour in ("none", "transparent") or "var(--chart-" in colour for colour in used)


def test_again_the_same_bytes(record):
    # within one process too, where Vega counts what it clips
    report = make_report(budgeted(record, 103_000), "net-001")
    assert len({pareto_svg(report) for _ in range(3)}) == 1
    assert len({curve_svg(report) for _ in range(3)}) == 1


def test_without_a_score_the_charts_say_so(empty, record):
    failed = RunRecord(
        record.run, tuple(replace(t, score=None, state="failed") for t in record.trials)
    )
    for content in (empty, failed):
        report = make_report(content, "net-001")
        assert pareto_data(report) is None
        assert texts(pareto_svg(report)) == texts(curve_svg(report)) == {"nothing has a score yet"}


def test_only_the_base_has_a_score(record):
    report = make_report(RunRecord(record.run, (), record.baselines[:1]), "net-001")
    data = pareto_data(report)
    assert data.marked == (Point("base", 100e-6, 1.0),)
    assert data.x.low < 100e-6 < data.x.high
    assert "base" in texts(pareto_svg(report))


def test_the_page_fills_in_the_trials(record):
    spec = pareto_spec(pareto_data(make_report(record, "net-001")))
    assert spec["datasets"]["trials"] == spec["datasets"]["chosen"] == []


def test_several_curves_are_shares_of_the_best_random(record, record_with):
    two = replace(record_with(name="a<b>"), baselines=record.baselines[:3])
    spec = curves_spec([make_report(record, "one"), make_report(two, "two")])
    # scores 5, then 9 with the third trial of four; the best random one has 8
    assert spec["datasets"]["curves"] == [
        {"x": 1, "y": 5 / 8, "run": "one"},
        {"x": 3, "y": 9 / 8, "run": "one"},
        {"x": 4, "y": 9 / 8, "run": "one"},
    ]
    assert texts(svg(curves_spec([make_report(two, "two")]))) == {
        "no run has a random search to compare with"
    }
