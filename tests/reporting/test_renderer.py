"""Charts are drawn by a process of their own, whose end costs one chart."""

import resource
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import pytest

from bamsearch.reporting.charts import renderer
from bamsearch.reporting.charts.look import empty_spec, standalone, svg
from bamsearch.reporting.charts.renderer import svg_of
from bamsearch.reporting.content import make_report
from bamsearch.reporting.page import html_page


@pytest.fixture
def fresh(monkeypatch):
    """A renderer of this test's own."""
    process = renderer._Renderer()
    monkeypatch.setattr(renderer, "_renderer", lambda: process)
    yield process
    process.stop()


def texts(drawing: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(drawing).iter() if element.text]


def test_control_characters_are_drawn_by_their_codes(fresh):
    drawing = svg(empty_spec("a\x00\x1b[31m\ud800<b>\nc"))
    assert any(r"a\x00\x1b[31m\ud800<b>\nc" in text for text in texts(drawing))


def test_the_end_of_the_process_costs_one_chart(fresh, monkeypatch):
    started = fresh._started()
    started.kill()
    started.wait()
    with pytest.warns(RuntimeWarning, match="a chart was left out: the renderer died"):
        drawing = standalone(svg(empty_spec("first")))
    assert texts(drawing) == ["This chart could not be drawn because the renderer failed."]
    assert any("second" in text for text in texts(svg(empty_spec("second"))))


def test_a_renderer_that_cannot_be_started_costs_charts(fresh, monkeypatch, record):
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.warns(RuntimeWarning, match="a chart was left out"):
        page = html_page(make_report(record, "net-001"))
    assert page.count("could not be drawn because") == 2
    assert "vegaEmbed" in page  # the browser draws them


def test_what_no_chart_can_be_made_of_is_said(fresh):
    with pytest.warns(RuntimeWarning, match="a chart was left out: "):
        svg_of({"mark": 5}, "v6.1")
    with warnings.catch_warnings(action="error"):
        svg(empty_spec("the next one"))


def test_little_memory_costs_the_charts_alone(record):
    """V8 reserves more address space than this."""
    code = (
        "from bamsearch.reporting.charts.look import empty_spec, svg\n"
        "print('could not be drawn' in svg(empty_spec('text')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert "a chart was left out" in done.stderr
