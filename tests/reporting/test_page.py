"""The HTML page as text: parsed again, and compared with what was put in."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bamsearch.records import Insertion, RunRecord, Site
from bamsearch.reporting.comparison import Compared, Differences, differences
from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunsDocument
from bamsearch.reporting.page import html_page
from bamsearch.reporting.page_data import DesignCodes, page_data

HOSTILE = "</script><script>alert('1')</script>|\"\n<!-- ,;\u2028 名前 é"
SHOWN = HOSTILE.replace("\n", r"\n").replace("\u2028", r"\u2028")


class Page(HTMLParser):
    """Tags with their attributes, and all text; scripts and styles apart."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])


def page_of(record: RunRecord, **options) -> Page:
    return Page(html_page(make_report(record, "net-001"), **options))


def decoded(data: dict, code: str) -> set[tuple[str, int, int]]:
    """A design's BAMs, read as the page's script reads them."""
    result = set()
    for site, letter in zip(data["sites"], code, strict=True):
        if letter != ".":
            option = site["options"][data["letters"].index(letter)]
            result.add((site["name"], option["r"], option["d"]))
    return result


def bams(design) -> set[tuple[str, int, int]]:
    return {
        (insertion.site, insertion.reduction, insertion.dilation) for insertion in design.insertions
    }


def test_one_file_that_asks_for_nothing(record):
    page = page_of(record)
    assert Counter(tag for tag, _ in page.tags)["h1"] == 1
    assert page.all("html")[0]["lang"] == "en"
    for _, attrs in page.tags:
        assert "src" not in attrs
        assert attrs.get("href", "data:,") in ("data:,",)
        assert not [name for name in attrs if name.startswith("on")]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_only_the_scripts_of_the_page_may_run(record):
    page = page_of(record)
    meta = page.all("meta")
    policy = next(element["content"] for element in meta if "http-equiv" in element)
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == "'none'"
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in page.scripts[1:]
    ]
    assert directives["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    kinds = [element.get("type") for element in page.all("script")]
    assert kinds == ["application/json", None, None, None]


def test_tables_have_names_and_headings(record, trained):
    for content in (record, trained):
        page = page_of(content)
        wide = [a for a in page.all("div") if a.get("class", "").startswith("wide")]
        assert all(attrs["aria-label"] and attrs["tabindex"] == "0" for attrs in wide)
        assert all(attrs["scope"] in ("row", "col") for attrs in page.all("th"))
        assert len(page.all("table")) == len(page.all("tbody"))


def test_the_same_numbers_as_elsewhere(trained):
    text = page_of(trained).text
    for said in (
        "+0.41 points over base, 95% [+0.12, +0.70], 5 paired seeds",
        "90.41% [90.00, 90.80]",
        "+0.41 [+0.12, +0.70]",
        "1 MAC = 1 FLOP (fvcore)",
        "abc123",
        "25 of 125, 20.0% (exact)",
        "reason: out of luck",
        "bamsearch search net --budget-gflops +20% --seed 7",
    ):
        assert said in text, said


def test_links_only_to_what_is_beside_it(record):
    assert page_of(record).all("a") == []
    both = frozenset({"trials.csv", "report.json", "report.md"})
    assert [element["href"] for element in page_of(record, beside=both).all("a")] == [
        "trials.csv",
        "report.json",
    ]


def test_names_of_any_kind_do_no_harm(record):
    sites = tuple(replace(site, name=site.name + HOSTILE) for site in record.run.summary.sites)
    summary = replace(record.run.summary, sites=sites, model=HOSTILE)
    run = replace(record.run, name=HOSTILE, summary=summary, command=HOSTILE, score=HOSTILE)

    def renamed(trial):
        insertions = [
            replace(insertion, site=insertion.site + HOSTILE)
            for insertion in trial.design.insertions
        ]
        return replace(trial, design=run.design(insertions), reason=trial.reason and HOSTILE)

    hostile = RunRecord(
        run,
        tuple(map(renamed, record.trials)),
        tuple((kind, renamed(trial)) for kind, trial in record.baselines),
    )
    page, plain = page_of(hostile), page_of(record)
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert len(page.scripts) == len(plain.scripts)
    assert page.text.count(SHOWN) > 10
    assert page.data["sites"][0]["name"] == "layer1" + SHOWN


def test_the_data_has_every_scored_design(record):
    report = make_report(record, "net-001")
    data = page_data(report, DesignCodes(report))
    columns = data["designs"]
    expected = [
        *(("random search", t) for k, t in record.baselines if k == "random"),
        *(("search", t) for t in record.trials if t.score is not None),
        *((n, record.baseline(k)) for n, k in [("base", "base"), ("paper default", "paper")]),
        ("largest that fits", record.baseline("largest")),
    ]
    assert [bams(t.design) for _, t in expected] == [decoded(data, c) for c in columns["code"]]
    assert columns["score"] == [t.score for _, t in expected]
    assert columns["macs"] == [t.macs for _, t in expected]
    assert columns["params"] == [t.params for _, t in expected]
    assert [kind for kind, count in columns["kind"] for _ in range(count)] == [
        k for k, _ in expected
    ]


def test_the_table_has_what_a_bam_costs(record):
    report = make_report(record, "net-001")
    (layer1,) = [
        s for s in page_data(report, DesignCodes(report))["sites"] if s["name"] == "layer1"
    ]
    (r4d1,) = [option for option in layer1["options"] if (option["r"], option["d"]) == (4, 1)]
    # DESIGN's formula by hand: C = 8, h = 2, 8x8
    params = 3 * 8 * 2 + 18 * 4 + 5 * 2 + 3 * 8 + 3
    macs = 64 * (8 * 2 + 18 * 4 + 2) + 2 * 8 * 2 + 8 * 64 + 2 * 8 + 2 * 64
    assert list(r4d1["cells"]) == [
        *("layer1", "8×8×8", "4", "bottleneck", "layer2", "4", "1"),
        f"{params:,}",
        f"{macs:,}",
    ]


def test_more_choices_at_a_site_than_letters_of_the_alphabet(record):
    run = record.run
    designs = [run.design([Insertion("layer1", r, d)]) for r in range(1, 13) for d in range(1, 13)]
    trials = tuple(
        replace(record.trials[0], number=n, score=float(n), design=design)
        for n, design in enumerate(designs)
    )
    data = page_of(RunRecord(run, trials)).data
    result = [decoded(data, code) for code in data["designs"]["code"]]
    assert result == [bams(design) for design in designs]


def test_differences_by_hand(trained):
    base, paper, *_, best = make_report(trained, "net-001").comparison
    assert differences(best, base) == Differences(
        "+10.00%", "+1.00%", "+8.0000", "+0.41 [+0.12, +0.70]"
    )
    # the other way round the interval turns over
    assert differences(base, best).accuracy == "-0.41 [-0.70, -0.12]"
    assert differences(best, paper).accuracy == "+0.07 [-0.21, +0.35]"
    # no pair with the same seeds, no difference
    assert differences(paper, base).accuracy == ""
    assert differences(best, best) == Differences()
    assert differences(Compared("random", "random"), base) == Differences()


@pytest.mark.parametrize(
    ("now", "base", "said"),
    [
        (81.42, 80.1, "+1.320"),
        (9.0, 81.42, "-72.420"),
        (4.766e7, 4.4549e7, "+3,111,000"),
        (4.766e9, 4.4549e9, "+3.1110e+08"),
    ],
)
def test_a_difference_of_scores_has_their_decimals(now, base, said):
    best, other = Compared("found", "found", score=now), Compared("base", "base", score=base)
    assert differences(best, other).score == said


def test_a_run_without_finished_trials(empty, record):
    page = page_of(empty)
    assert "Not finished: 0 of 4 trials" in page.text
    assert "Not known: nothing has a score yet." in page.text
    assert page.data["chart"] is None
    half = page_of(replace(record, trials=record.trials[:1]))
    assert "Not finished: 1 of 4 trials" in half.text
    assert "layer1 r4 d1, layer2 r4 d1" in half.text
    nothing = page_of(replace(record, trials=record.trials[1:2], baselines=()))
    assert "out of luck" in nothing.text


def test_a_network_of_one_site_and_no_bam_that_was_found(record):
    (site,) = record.run.summary.sites[3:]
    summary = replace(record.run.summary, sites=(site,))
    run = replace(record.run, summary=summary, budgets=(), score="mine.py:score")
    base = replace(record.baselines[0][1], score=99.0, design=run.design([]))
    page = page_of(RunRecord(run, (), (("base", base),)))
    assert "No design scores higher than the base network." in page.text
    assert "no BAM" in page.text
    assert isinstance(site, Site)


def test_ten_thousand_trials(big_record):
    text = html_page(make_report(big_record, "big"))
    assert len(text.encode()) < 4 * 10**6
    data = Page(text).data
    columns = data["designs"]
    # 10,000 random ones first, then the search's
    assert dict(columns["kind"])["search"] == 10_000
    last = big_record.trials[-1]
    assert decoded(data, columns["code"][19_999]) == bams(last.design)
    assert columns["score"][19_999] == last.score


def test_a_page_is_small(record):
    assert len(html_page(make_report(record, "net-001")).encode()) < 2 * 10**6


def test_the_same_record_the_same_bytes():
    """In processes of their own, with other hashes of texts."""
    folder = Path(__file__).parents[1] / "search" / "runs" / "0.1.0"
    program = (
        "import hashlib, sys; from pathlib import Path\n"
        "from bamsearch.records.run_files import read_record\n"
        "from bamsearch.reporting.content import make_report\n"
        "from bamsearch.reporting.page import html_page\n"
        "report = make_report(read_record(Path(sys.argv[1])), 'run')\n"
        "for _ in range(2): print(hashlib.sha256(html_page(report).encode()).hexdigest())\n"
        "assert 'torch' not in sys.modules\n"
    )
    result = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        result |= set(done.stdout.split())
    assert len(result) == 1


def test_several_runs(record, record_with):
    reports = [make_report(record, "one"), make_report(record_with(name=HOSTILE), HOSTILE)]
    page = Page(RunsDocument(reports).text("html"))
    assert page.scripts == []
    assert page.text.count(SHOWN) >= 2
    assert "scores are comparable." in page.text
