"""Networks of hundreds and thousands of sites: nothing overflows, nothing is quadratic."""

import json
import sys
from dataclasses import replace
from decimal import Decimal

import pytest

from bamsearch.api.insertion import InsertResult
from bamsearch.cli.console import Console
from bamsearch.cli.text.insert import insert_json, print_insertion
from bamsearch.cli.text.search import print_result, search_result_json
from bamsearch.graph.placement import place, why_not_paper
from bamsearch.profiling.costs import DesignCosts, cost_of
from bamsearch.records import Cost, Design, Insertion, ModelSummary, Run, RunRecord, Site
from bamsearch.reporting.as_json import json_value
from bamsearch.reporting.content import make_report
from bamsearch.reporting.csv_tables import csv_text
from bamsearch.reporting.markdown import markdown
from bamsearch.reporting.network import network_picture
from bamsearch.reporting.network_text import network_text
from bamsearch.reporting.page import html_page
from bamsearch.text import LARGEST_COUNT


def deep(number: int) -> ModelSummary:
    """Sites that all cost the same, every other one a bottleneck of its own."""
    kinds = ("block", "bottleneck")
    sites = tuple(
        Site(f"net.{at}", 64, 14, 14, 16, "NCHW", kinds[at % 2], f"net.{at + 1}")
        for at in range(number)
    )
    return ModelSummary("net", (3, 32, 32), "", (3, 32, 32), sites, Cost(1000, 100_000, 90_000))


def counted(call) -> int:
    """How many calls of Python functions a call takes: what does not depend on the machine."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


@pytest.fixture(params=[300, 1000])
def many(request, record) -> RunRecord:
    """The small record on a network with this number of sites, BAM at all of them in one design."""
    summary = deep(request.param)
    run = replace(
        record.run,
        summary=summary,
        designs=17**request.param,
        feasible_designs=17 ** (request.param - 1),
    )
    insertions = tuple(Insertion(site.name, 4, 1) for site in summary.sites)
    trials = tuple(
        replace(trial, design=run.design(insertions[: len(insertions) - trial.number]))
        for trial in record.trials
    )
    return RunRecord(run, trials, (("base", replace(trials[0], design=run.design(()))),))


def test_every_report_of_many_sites_says_how_many_designs_there_are(many, capsys, monkeypatch):
    monkeypatch.setattr("bamsearch.reporting.page.vega_script", lambda: "")
    number = len(many.run.summary.sites)
    designs, fit = (f"{Decimal(17) ** power:.1e}" for power in (number, number - 1))
    report = make_report(many, "net-001")
    said = f"{fit} of {designs}, 5.9%"
    assert said in html_page(report)
    assert said in markdown(report, charts=False)
    health = json_value(report)["health"]
    assert (health["designs"], health["feasible"]) == (designs, fit)
    assert search_result_json(many)["designs"] == designs
    print_result(Console(), report)
    assert f"{fit} of {designs} designs fit (exact)" in capsys.readouterr().out
    assert csv_text([many]).count("\r\n") == 1 + 4 + 1
    assert Run.from_json(many.run.to_json()) == many.run


def test_more_designs_than_can_be_stored(record):
    run = replace(record.run, designs=LARGEST_COUNT, feasible_designs=LARGEST_COUNT)
    text = markdown(make_report(replace(record, run=run), "net-001"), charts=False)
    assert "more than 10^4000 of more than 10^4000, ? (exact)" in text
    assert Run.from_json(run.to_json()) == run


def whole(number: int) -> None:
    """Read, cost, draw and print a design that has BAM at every site, and a design without BAM."""
    summary = deep(number)
    insertions = tuple(Insertion(site.name) for site in summary.sites)
    design = Design.from_json(Design("net", (3, 32, 32), insertions).to_json())
    cost = cost_of(summary, design)
    assert cost.total.params == DesignCosts(summary).cost(insertions).params
    result = InsertResult(design, summary, cost, loaded=None, inserted=None)
    print_insertion(Console(), result)
    json.dumps(insert_json(result))
    network_text(network_picture(summary, insertions))
    for site in summary.sites:
        why_not_paper(site, summary.sites)
    place(summary.sites, [site.name for site in summary.sites])


def test_ten_times_the_sites_take_ten_times_the_work(capsys):
    whole(10)  # what is imported and worked out once
    few, many = counted(lambda: whole(300)), counted(lambda: whole(3000))
    assert many < 11 * few
