"""Markdown as an independent renderer reads it (markdown-it, GitHub's rules)."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from bamsearch.records import Insertion
from bamsearch.reporting.content import make_report
from bamsearch.reporting.markdown import code_block, escaped, markdown
from bamsearch.text import printable

STRANGE = [
    "<script>alert(1)</script>",
    "a|b|c",
    "line\nbreak",
    'quo"te, comma',
    "*bold* _it_ `code` ~~gone~~",
    "[link](http://example.invalid) ![x](y)",
    "&lt;b&gt; &amp;",
    "back\\slash",
    "日本 é ✓",
    "# heading",
    "$x$",
    "1. item",
    "- item",
]


class Page(HTMLParser):
    """Tags and text of rendered Markdown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self._cell = False
        self.feed(MarkdownIt("gfm-like", {"linkify": False}).render(text))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self._cell = True
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        self.text += data
        if self._cell:
            self.cells[-1] += data


@pytest.mark.parametrize("name", STRANGE)
def test_escaped_text_is_read_as_it_was(name):
    line = " ".join(name.split())
    page = Page(f"| head |\n| --- |\n| {escaped(name)} |\n")
    assert page.cells == ["head", line]
    assert set(page.tags) == {"table", "thead", "tbody", "tr", "td", "th"}


def test_text_in_a_fence_is_read_as_it_was():
    for text in ("plain", "a\n```\nb", "````"):
        page = Page(code_block(text))
        assert page.tags == ["pre", "code"]
        assert page.text.rstrip("\n") == text


@pytest.mark.parametrize("name", STRANGE)
def test_a_report_with_strange_names(record, name):
    site = replace(record.run.summary.sites[1], name=name)
    summary = replace(record.run.summary, model=name, sites=(site, *record.run.summary.sites[2:]))
    run = replace(record.run, summary=summary, name=name, score=f"{name}.py:{name}", command=name)
    trial = replace(record.trials[0], design=run.design([Insertion(name, 4, 2)]))
    failed = replace(trial, number=1, score=None, state="failed", reason=name)
    report = make_report(replace(record, run=run, trials=(trial, failed), baselines=()), name)
    page = Page(markdown(report, charts=True))
    line = printable(name)
    assert line in page.cells
    assert f"{line} r4 d2" in page.cells
    assert f"reason: {line}" in page.cells
    assert "script" not in page.tags
    assert "a" not in page.tags
    assert page.tags.count("img") == 3
    assert page.tags.count("h1") == 1


def test_what_it_says(record):
    text = markdown(make_report(record, "net-001"), charts=True)
    page = Page(text)
    for said in (
        "Not known: scores only, no training evidence.",
        "best of 2 random",
        "The best score, 9.0000, was reached at trial 3 of 4. "
        "Random search over 2 designs reached 8.0000; the search reached that at trial 3.",
        "25 of 125, 20.0% (exact)",
        "reason: out of luck",
        "1 MAC = 1 FLOP (fvcore)",
        "bamsearch search net --budget-gflops +20% --seed 7",
    ):
        assert said in page.text
    assert page.text.index("Does it help?") < page.text.index("Comparison")


def test_the_answer_of_training_stands_first(trained):
    page = Page(markdown(make_report(trained, "net-001"), charts=True))
    answer = page.text.index("+0.41 points over base, 95% [+0.12, +0.70], 5 paired seeds.")
    assert answer < page.text.index("Comparison")
    assert "90.41% [90.00, 90.80]" in page.cells
    assert "+0.07 [-0.21, +0.35]" in page.cells


def test_without_files_the_network_is_drawn_in_letters(record, empty):
    page = Page(markdown(make_report(record, "net-001"), charts=False))
    assert "img" not in page.tags
    assert "layer2" in page.text
    begun = Page(markdown(make_report(empty, "net-001"), charts=False))
    assert "Not known: nothing has a score yet." in begun.text
    assert "Not finished: 0 of 4 trials." in begun.text
    assert "No trial has a score yet." in begun.text
