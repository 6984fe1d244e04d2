"""A report as one HTML file that works offline; templates/page.html.j2 sets the order.

The file contains its styles, its script and Vega, and requests nothing. Its policy lists the
hashes of its scripts, so that nothing else runs, and forbids ``eval``: Vega interprets its
expressions (``ast`` in page.js). Without scripts the page shows the best design.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import vl_convert  # of the package vl_convert_python
from jinja2 import Environment, PackageLoader, StrictUndefined

from bamsearch.reporting import tables
from bamsearch.reporting.charts import run_charts
from bamsearch.reporting.charts.look import PALETTE, svg
from bamsearch.reporting.charts.pareto import pareto_data
from bamsearch.reporting.comparison import differences
from bamsearch.reporting.content import Report
from bamsearch.reporting.network import found_picture
from bamsearch.reporting.network_svg import network_svg
from bamsearch.reporting.page_data import DesignCodes, listed_designs, page_data
from bamsearch.reporting.text import budget_text, design_text, giga, mega, template_file, title
from bamsearch.text import printable, shortened_text

_FRONT_SHOWN = 100
_LONGEST_TITLE = 200


def html_page(
    report: Report,
    drawings: Mapping[str, str] | None = None,
    *,
    beside: frozenset[str] = frozenset(),
) -> str:
    """The report of a run as HTML.

    Args:
        report: the report.
        drawings: its charts as SVG by name; None draws them.
        beside: files in the same folder that the page may link to: ``trials.csv``,
            ``report.json``.

    Returns:
        The whole file; the same report always gives the same bytes.
    """
    codes = DesignCodes(report)
    run = report.record.run
    data = pareto_data(report)
    if drawings is None:
        drawings = {name: svg(spec) for name, spec in run_charts(report).items()}
    scripts = (vega_script(), template_file("numbers.js"), template_file("page.js"))
    return render_page(
        "page.html.j2",
        title=shortened_text(title(run), _LONGEST_TITLE),
        heading=shortened_text(printable(run.model), _LONGEST_TITLE),
        beside=beside,
        budgets=[budget_text(run, budget) for budget in run.budgets],
        differences=[differences(row, report.comparison[0]) for row in report.comparison],
        trained=any(row.accuracy is not None for row in report.comparison),
        trained_style=template_file("training_effects.css"),
        network=network_svg(found_picture(report.record)),
        site_header=codes.sites,
        charts=drawings,
        score_name=tables.score_name(report),
        notes=data.notes if data is not None else (),
        choices=listed_designs(report, codes, _FRONT_SHOWN),
        more=max(len(report.front) - _FRONT_SHOWN, 0),
        scripts=scripts,
        hashes=" ".join(map(_hash, scripts)),
        data=page_data(report, codes),
        **tables.run_content(report),
    )


def render_page(template: str, **content: Any) -> str:
    """A template of an HTML report with its content."""
    return html_environment().get_template(template).render(content)


@cache
def html_environment() -> Environment:
    """The HTML templates; all values are made printable and escaped, except our own drawings."""
    templates = Environment(
        loader=PackageLoader("bamsearch.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    # tojson escapes what HTML would read; by default it also sorts keys and pads.
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    templates.filters |= {
        "compared_score": tables.compared_score,
        "giga": giga,
        "mega": mega,
        "design": design_text,
        "latency": tables.latency_text,
        "accuracy": tables.accuracy_text,
    }
    templates.globals |= {"palette": PALETTE, "style": template_file("page.css")}
    return templates


def _finalized(value: object) -> object:
    """A template's value: text made printable, our own markup unchanged."""
    return printable(value) if type(value) is str else value


@cache
def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed for an inline script: ``window.vegaEmbed``."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a script these would end it or open another one.
    bundle = bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    # A function scope keeps the bundle's short names out of the page.
    return f'(() => {{"use strict";{bundle}\n}})();'


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
