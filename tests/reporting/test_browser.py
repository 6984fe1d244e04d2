"""The HTML page in Chromium, offline: what the pointer, the keyboard, themes and paper do."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bamsearch.records import RunRecord
from bamsearch.records.run_files import read_record
from bamsearch.reporting.content import make_report
from bamsearch.reporting.page import html_page
from bamsearch.reporting.text import design_text, giga, mega, score_text

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

WIDE = {"width": 1280, "height": 900}

# Points at one place after another of the chart until a text is in the hint; where that was.
FIND = """(wanted) => {
  const live = document.querySelector("#pareto .live");
  live.scrollIntoView({ block: "center" });
  const box = live.querySelector("canvas").getBoundingClientRect();
  for (let y = box.top; y < box.bottom; y += 6) {
    for (let x = box.left; x < box.right; x += 6) {
      live.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y }));
      const hint = document.querySelector(".hint");
      if (!hint.hidden && hint.textContent.includes(wanted)) return [x, y];
    }
  }
  return null;
}"""

# The contrast of each text with what is behind it (WCAG 2): the texts below 4.5.
PALE = """() => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => rgb(colour).slice(0, 3)
    .map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    const colour = element ? getComputedStyle(element).backgroundColor : "rgb(255, 255, 255)";
    const clear = rgb(colour)[3] === 0;
    return clear ? behind(element.parentElement) : colour;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *:not(svg *, script)")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [light(getComputedStyle(element).color), light(behind(element))];
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.textContent}: ${contrast}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as running:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path: Path) -> Iterator[Callable[..., object]]:
    """``opened(record)``: its page, offline, which may neither complain nor ask for anything."""
    contexts, trouble = [], []

    def open_page(record: RunRecord, *, chart: bool = True, **options):
        path = tmp_path / "report.html"
        path.write_text(html_page(make_report(record, "net-001")), encoding="utf-8")
        context = browser.new_context(**{"viewport": WIDE, "offline": True} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(dialog.message))
        page.on("request", lambda r: r.url == path.as_uri() or trouble.append(r.url))
        page.goto(path.as_uri())
        if chart:
            page.wait_for_selector("#pareto canvas")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def on(page) -> dict[str, tuple[str, str]]:
    """What the network's picture shows: site to (r, d)."""
    sites = page.locator("#network .site.on")
    return {
        site.get_attribute("data-site"): (
            site.locator(".r").text_content(),
            site.locator(".d").text_content(),
        )
        for site in sites.all()
    }


def rows(page) -> list[list[str]]:
    """Site, r and d of the table."""
    result = page.locator("#sites tbody tr").all()
    cells = [row.locator("th, td").all_text_contents() for row in result]
    return [[row[0], *row[5:7]] for row in cells]


def test_at_first_the_design_that_was_found(opened, record):
    page = opened(record)
    assert on(page) == {"layer2": ("r4", "d2")}
    assert rows(page) == [["layer2", "4", "2"]]
    assert (
        page.locator("#shown")
        .inner_text()
        .startswith("Shown: best design, layer2 r4 d2 · score 9.0000")
    )


def test_pointing_reads_a_design_and_a_click_shows_it(opened, record):
    page = opened(record)
    # trial 0: layer1 r4 d1, layer2 r4 d1; score 5, in no row of the list
    x, y = page.evaluate(FIND, "layer1 r4 d1, layer2 r4 d1")
    page.mouse.move(x, y)
    hint = page.locator(".hint")
    assert hint.is_visible()
    trial = record.trials[0]
    numbers = f"score 5.0000 · {giga(trial.macs)} GFLOPs · {mega(trial.params)} params"
    assert hint.locator("div").all_text_contents() == [design_text(trial.design), numbers]
    # pointing alone chooses nothing
    assert on(page) == {"layer2": ("r4", "d2")}
    page.mouse.click(x, y)
    assert on(page) == {"layer1": ("r4", "d1"), "layer2": ("r4", "d1")}
    assert rows(page) == [["layer1", "4", "1"], ["layer2", "4", "1"]]
    assert page.locator("#clicked").is_visible()
    assert page.locator("#designs input:checked").count() == 1
    assert "chosen in the chart, layer1 r4 d1" in page.locator("#shown").inner_text()
    assert "layer1 r4 d1, layer2 r4 d1" in page.locator("#network .net-desc").text_content()
    page.mouse.move(0, 0)
    assert not hint.is_visible()


def test_a_click_on_a_design_of_the_list_chooses_it_there(opened, record):
    page = opened(record)
    x, y = page.evaluate(FIND, "base")
    page.mouse.click(x, y)
    assert on(page) == {}
    assert page.locator("#sites tbody").inner_text() == "no BAM"
    assert not page.locator("#clicked").is_visible()
    assert page.locator("#designs tr:has(input:checked)").inner_text().strip().startswith("base")


def test_the_keyboard_reaches_every_design(opened, record):
    page = opened(record)
    page.locator("#designs input:checked").focus()
    said = []
    for _ in range(4):
        page.keyboard.press("ArrowDown")
        said.append(page.locator("#shown").inner_text().split(",")[0])
    assert [text.removeprefix("Shown: ") for text in said] == [
        "base",
        "paper default (r16 d4)",
        "largest that fits",
        "best of 2 random",
    ]
    assert on(page) == {"layer3": ("r4", "d1")}
    assert page.locator("#shown").get_attribute("aria-live") == "polite"


def test_differences_against_another_row(opened, trained):
    page = opened(trained)
    result = page.locator("#comparison tr.found [data-of]")
    assert result.all_text_contents() == ["+10.00%", "+1.00%", "+8.0000", "+0.41 [+0.12, +0.70]"]
    page.locator("#against").select_option("paper")
    # 1,200 parameters, 102,000 multiply-adds and a score of 4 there
    assert result.all_text_contents() == ["-8.33%", "-0.98%", "+5.0000", "+0.07 [-0.21, +0.35]"]


def test_the_script_writes_numbers_as_python_does(opened, record):
    page = opened(record)
    scores = [81.42, 0.0, -3.5, 1.00005e9, 100005.0, 0.000123456, 1e-5, 4.766e7, 6.25e-2, 2.5]
    scores += [
        1000.0,
        1e5,
        -1234567.5,
        12345.5,
        12346.5,
        0.03125,
        1234.55,
        99999.5,
        9.99995,
        1e300,
        -2.00005e12,
    ]
    result = page.evaluate("(all) => all.map(numbers.scoreText)", scores)
    assert result == [score_text(score) for score in scores]
    counts = [0, 1, 999, 100_000, 7_812_500_000, 62_500_000, 10**12, 45_328_000, 2_500]
    result = page.evaluate("(all) => all.map((n) => [numbers.giga(n), numbers.mega(n)])", counts)
    assert result == [[giga(count), mega(count)] for count in counts]


def test_the_theme_follows_the_system_and_the_button(opened, record):
    page = opened(record, color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    button = page.locator("#theme")
    dark = page.evaluate(back)
    assert button.inner_text() == "Light theme"
    button.click()
    assert button.inner_text() == "Dark theme"
    assert page.evaluate(back) == "rgb(255, 255, 255)" != dark
    button.click()
    assert page.evaluate(back) == dark
    page.wait_for_selector("#pareto canvas")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(opened, trained, scheme):
    page = opened(trained, color_scheme=scheme)
    assert page.evaluate(PALE) == []


# The ends of the charts' texts beyond their drawing's, in pixels.
CUT = """() => [...document.querySelectorAll("#effects svg, #ranking svg")].flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map((text) => {
    const own = text.getBoundingClientRect();
    return Math.max(box.left - own.left, own.right - box.right);
  });
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_mattered_can_be_read(opened, learned, scheme):
    page = opened(learned, color_scheme=scheme)
    assert page.evaluate(PALE) == []
    over = page.evaluate(CUT)
    assert len(over) > 10
    assert max(over) <= 0
    table = page.locator("div:has(> table > #ranking-rows)")
    assert table.evaluate("(one) => one.scrollWidth <= one.clientWidth")


@pytest.mark.parametrize(("width", "media"), [(390, "screen"), (688, "print")])
def test_what_mattered_on_a_phone_and_on_paper(opened, learned, width, media):
    page = opened(learned, viewport={"width": width, "height": 800})
    page.emulate_media(media=media)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#effects svg, #ranking svg").locator("visible=true").count() == 2
    assert max(page.evaluate(CUT)) <= 0


def test_a_design_that_was_trained_twice_is_one_point(opened, learned):
    page = opened(learned)
    x, y = page.evaluate(FIND, "layer1 r4 d1, layer2 r4 d1")
    page.mouse.click(x, y)
    assert on(page) == {"layer1": ("r4", "d1"), "layer2": ("r4", "d1")}
    assert "score 91.200" in page.locator("#shown").inner_text()


@pytest.mark.parametrize("width", [390, 768])
def test_a_narrow_window_scrolls_one_way_only(opened, record, width):
    page = opened(record, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_wide_network_fits_on_paper(opened):
    page = opened(read_record(Path(__file__).parents[1] / "search" / "runs" / "0.1.0"))
    page.emulate_media(media="print")
    # A4 less its margins
    page.set_viewport_size({"width": 688, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") == 688


def test_on_paper_buttons_are_hidden(opened, record):
    page = opened(record, color_scheme="dark")
    page.emulate_media(media="print")
    assert (
        not page.locator("nav, .copy, #pareto .live, #designs input")
        .locator("visible=true")
        .count()
    )
    assert page.locator("#pareto .still svg").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_all_is_there(opened, record):
    page = opened(record, chart=False, java_script_enabled=False)
    assert page.locator("#pareto .still svg").is_visible()
    assert page.locator("#curve .still svg").is_visible()
    assert on(page) == {"layer2": ("r4", "d2")}
    assert rows(page) == [["layer2", "4", "2"]]
    assert not page.locator("button").locator("visible=true").count()
    assert page.locator("#designs input").first.is_disabled()


def test_a_command_is_copied(opened, record):
    page = opened(record)
    page.locator(".copy").last.click()
    playwright.expect(page.locator(".copy").last).to_have_text("Copied")


def test_names_of_any_kind_do_nothing(opened, record):
    name = "</script><script>alert(1)</script>|\"'\n<img src=x onerror=alert(2)>名前"
    sites = tuple(replace(site, name=site.name + name) for site in record.run.summary.sites)
    run = replace(record.run, name=name, summary=replace(record.run.summary, sites=sites))

    def renamed(trial):
        insertions = [
            replace(insertion, site=insertion.site + name) for insertion in trial.design.insertions
        ]
        return replace(trial, design=run.design(insertions))

    baselines = tuple((kind, renamed(trial)) for kind, trial in record.baselines)
    page = opened(RunRecord(run, tuple(map(renamed, record.trials)), baselines))
    assert page.locator("img").count() == 0
    page.locator("#designs input").nth(3).check()
    shown = name.replace("\n", r"\n")
    assert on(page) == {f"layer1{shown}": ("r16", "d4"), f"layer2{shown}": ("r16", "d4")}
    assert page.evaluate(FIND, "<img src=x") is not None


def test_a_run_without_a_score(opened, empty):
    page = opened(empty, chart=False)
    assert page.locator("#pareto .still").inner_text() == "nothing has a score yet"
    page.locator("#designs input:enabled").nth(2).check()
    assert on(page) == {"layer1": ("r16", "d4"), "layer2": ("r16", "d4")}


def test_ten_thousand_trials_answer_the_pointer(opened, big_record):
    page = opened(big_record)
    best = big_record.best
    x, y = page.evaluate(FIND, f"score {score_text(best.score)}")
    page.mouse.click(x, y)
    assert len(on(page)) == len(best.design.insertions)
