"""Reports of runs whose records hold any texts and numbers that readers accept."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bamsearch.records import (
    Accuracy,
    AccuracyEstimate,
    Budget,
    Cost,
    Difference,
    Effect,
    Evidence,
    Insertion,
    ModelSummary,
    Run,
    RunRecord,
    Site,
    TrainingAnalysis,
    Trial,
)
from bamsearch.reporting.as_json import json_value, schema_text
from bamsearch.reporting.content import make_report
from bamsearch.reporting.csv_tables import csv_text
from bamsearch.reporting.documents import RunDocument
from bamsearch.reporting.markdown import markdown
from bamsearch.reporting.page import html_page
from bamsearch.reporting.text import printable
from bamsearch.text import csv_value

EVIL = "</script><b id=evil onload=x>|`*_[x](http://e)\\\n\r\x00\x1b]0;t\x07\u202e\udcff,\"'=&lt;"
TEXTS = st.one_of(
    st.text(min_size=1, max_size=12),
    st.text(
        alphabet="<>&\"'|`*_\\\n\r\t\x00\x1b\x9b\u202e\udcff=+-@, é🏴", min_size=1, max_size=12
    ),
    st.sampled_from([EVIL, "   ", "=cmd", "'=x", "x" * 1000, "שלום", "👩‍👩‍👧", "-5", "@a", "a|b"]),
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**63 - 1)
HUGE = st.one_of(COUNTS, st.sampled_from([10**300, 17**251, 10**3999, 10**4000]))
RS, DS = st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1)


@st.composite
def records(draw) -> RunRecord:
    """A run with a few sites, trials and references; with evidence or trainings, or without."""
    names = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    kinds = st.sampled_from(["stem", "bottleneck", "block", "head", "neck"])
    sites = tuple(
        Site(
            name,
            *(draw(st.integers(1, 10**3)) for _ in range(4)),
            "NCHW",
            draw(kinds),
            draw(st.none() | TEXTS),
        )
        for name in names
    )
    base = Cost(draw(COUNTS), draw(COUNTS), draw(COUNTS))
    run = Run(
        name=draw(TEXTS),
        summary=ModelSummary(draw(TEXTS), (3, 32, 32), "", (3, 32, 32), sites, base),
        variant="paper",
        init="paper",
        num_classes=None,
        space={"name": draw(TEXTS)},
        with_stem=draw(st.booleans()),
        budgets=draw(st.sampled_from([(), (Budget("gflops", "1", 10**9, base.macs),)])),
        score=draw(st.sampled_from(["snip", "params", "train"]) | TEXTS),
        objectives=draw(st.sampled_from([("score",), ("score", "params")])),
        sampler=draw(TEXTS),
        seed=draw(COUNTS),
        trials=draw(st.integers(1, 10**6)),
        designs=draw(HUGE),
        feasible_designs=draw(HUGE),
        command=draw(TEXTS),
        versions={draw(TEXTS): draw(TEXTS)},
        git_commit=draw(st.none() | TEXTS),
        created=draw(TEXTS),
        device=draw(TEXTS),
    )
    designs = draw(
        st.lists(st.dictionaries(st.sampled_from(names), st.tuples(RS, DS)), min_size=1, max_size=4)
    )
    trials = []
    for number, design in enumerate(designs):
        score = draw(st.none() | NUMBERS)
        trials.append(
            Trial(
                number,
                run.design([Insertion(name, *option) for name, option in design.items()]),
                score,
                draw(COUNTS),
                draw(COUNTS),
                "failed" if score is None else "complete",
                reason=draw(TEXTS) if score is None else None,
                seconds=draw(st.none() | st.floats(0, 1e12)),
                seed=0 if run.score == "train" else None,
            )
        )
    base_trial = Trial(0, run.design(()), draw(NUMBERS), base.params, base.macs)
    baselines = (("base", base_trial), ("random", trials[0]))
    record = RunRecord(run, tuple(trials), baselines)
    points = st.floats(-100, 100)
    if run.score == "train" and draw(st.booleans()):
        low, mean, high = sorted(draw(points) for _ in range(3))
        ranking = {trial.design.insertions: trial for trial in trials}
        learned = TrainingAnalysis(
            trainings=draw(COUNTS),
            noise=abs(draw(points)),
            confidence=0.95,
            effects=(Effect("site", tuple(names[:1]), mean, low, high, 3),),
            ranking=tuple(
                AccuracyEstimate(estimate, mean, low, high, 1, 0.5) for estimate in ranking
            ),
            remarks=(draw(TEXTS),),
        )
        return replace(record, analysis=learned)
    if draw(st.booleans()):
        accuracy = Accuracy(draw(points), draw(points), draw(points), 5)
        difference = Difference("base", draw(points), draw(points), draw(points), 5)
        evidence = Evidence(
            data=draw(TEXTS),
            data_hash=draw(TEXTS),
            confidence=0.95,
            accuracies={"base": accuracy, "found": accuracy},
            differences=(difference,),
            command=draw(TEXTS),
            remarks=(draw(TEXTS),),
        )
        return replace(record, evidence=evidence)
    return record


def fuzzed(examples: int):
    """The same examples each time: a failure is of the change that was made."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )


@pytest.fixture(autouse=True)
def _without_vega(monkeypatch):
    """Its script is a megabyte, the same for all pages, and none of ours."""
    monkeypatch.setattr("bamsearch.reporting.page.vega_script", lambda: "")


class Page(HTMLParser):
    """Elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


SAFE = {
    *("html", "head", "meta", "title", "link", "style", "script", "body", "header", "main", "nav"),
    *("section", "footer", "div", "span", "p", "h1", "h2", "h3", "ul", "li", "a", "button"),
    *("strong", "small", "code", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("label", "input", "select", "option", "fieldset", "legend"),
    *("svg", "g", "path", "rect", "circle", "line", "polygon", "text", "tspan", "desc", "defs"),
}
"""Elements of the page and its charts."""


@given(records(), TEXTS)
@fuzzed(12)
def test_no_element_of_the_page_comes_from_a_name(record, folder):
    text = html_page(make_report(record, folder))
    text.encode()
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= SAFE
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "src" not in attributes
        assert tag != "a" or attributes["href"] in ("trials.csv", "report.json")
    ours = re.sub(r"(?s)<script>.*?</script>", "", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", ours)


@given(records(), TEXTS)
@fuzzed(60)
def test_tables_of_markdown_keep_their_columns(record, folder):
    report = make_report(record, folder)
    text = markdown(report, charts=False)
    text.encode()
    tables = [
        lines
        for block in re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", text).split("\n\n")
        if (lines := block.strip("\n").split("\n"))[0].startswith("| ")
    ]
    assert len(tables) >= 4
    for lines in tables:
        bars = {len(re.findall(r"(?:\\.|[^\\|])*(\|)", line)) for line in lines}
        assert len(bars) == 1, lines
    page = Page(MarkdownIt("gfm-like", {"linkify": False}).render(text))
    assert not {tag for tag, _ in page.elements} & {"b", "script", "a", "img"}


@given(records())
@fuzzed(60)
def test_csv_is_read_back(record):
    text = csv_text([record])
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    everything = [*record.trials, *(trial for _, trial in record.baselines)]
    assert len(rows) == len(everything)
    score = next(name for name in rows[0] if name.startswith("score ("))
    for row, trial in zip(rows, everything, strict=True):
        reached = row[score]
        assert (float(reached) if reached else None) == trial.score
        assert int(row["parameters"]) == trial.params
        assert csv_value(row["reason of failure"]) == as_utf8(trial.reason or "")
        for insertion in trial.design.insertions:
            column = next(name for name in row if csv_value(name) == as_utf8(f"{insertion.site} r"))
            assert int(row[column]) == insertion.reduction
    assert not [cell for row in rows for cell in (*row, *row.values()) if is_formula(cell)]


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet may execute the cell; never true of a number."""
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    return re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", cell) is None


def as_utf8(text: str) -> str:
    """The text with each half of a character shown by its code."""
    return "".join(
        printable(character) if "\ud800" <= character <= "\udfff" else character
        for character in text
    )


@given(records(), TEXTS)
@fuzzed(60)
def test_json_is_valid_and_whole(record, folder):
    report = make_report(record, folder)
    text = RunDocument(report).text("json")
    text.encode()
    assert json.loads(text) == json.loads(json.dumps(json_value(report)))
    assert json.loads(text)["run"] == record.run.name
    VALIDATOR.validate(json.loads(text))


VALIDATOR = jsonschema.Draft202012Validator(json.loads(schema_text()))
