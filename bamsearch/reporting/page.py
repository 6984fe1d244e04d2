"""A report as one HTML file that works offline; templates/page.html.j2 sets the order.

The file contains its styles, its script and Vega, and requests nothing. Its policy lists the
hashes of its scripts, so that nothing else runs, and forbids ``eval``: Vega interprets its
expressions (``ast`` in page.js). Without scripts the page shows the best design.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import vl_convert  # of the package vl_convert_python
from jinja2 import Environment, PackageLoader, StrictUndefined

from bamsearch.records import Trial
from bamsearch.reporting.charts.curves import curve_sentence
from bamsearch.reporting.charts.data import UNITS, cost_axis, drawn, pareto_data
from bamsearch.reporting.charts.intervals import EFFECTS, TOP, effects_page_svg, ranking_page_svg
from bamsearch.reporting.charts.look import PALETTE
from bamsearch.reporting.charts.pareto_and_ranking import (
    curve_spec,
    curves_spec,
    pareto_page_svg,
    svg,
)
from bamsearch.reporting.content import CONVENTION, Report
from bamsearch.reporting.differences import differences
from bamsearch.reporting.markdown import shortened
from bamsearch.reporting.network import found_picture
from bamsearch.reporting.network_svg import network_svg
from bamsearch.reporting.page_data import DesignCodes, option_table, page_data
from bamsearch.reporting.tables import (
    Table,
    accuracy_text,
    axis_names,
    compared_score,
    health_table,
    importance_table,
    latency_text,
    provenance_table,
    score_name,
    sites_table,
    sizes_table,
)
from bamsearch.reporting.text import budget_text, design_text, giga, mega, score_text, title
from bamsearch.reporting.training_effects_tables import (
    effects_legend,
    effects_table,
    ranking_legend,
    ranking_table,
)
from bamsearch.text import printable, shortened_text

_FRONT_SHOWN = 100
_LONGEST_TITLE = 200
_IMPORTANCES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class ListedDesign:
    """A design that the page's list offers.

    Attributes:
        label: name in the list.
        text: the design in words.
        code: the design as the script reads it.
        score: score as text.
        gflops: GFLOPs as text.
        params: parameters as text.
        x: position in the chart; None if the chart leaves it out.
        y: likewise.
    """

    label: str
    text: str
    code: str
    score: str
    gflops: str
    params: str
    x: float | None
    y: float | None


def html_page(report: Report, *, beside: frozenset[str] = frozenset()) -> str:
    """The report of a run as HTML.

    Args:
        report: the report.
        beside: files in the same folder that the page may link to: ``trials.csv``,
            ``report.json``.

    Returns:
        The whole file; the same report always gives the same bytes.
    """
    codes = DesignCodes(report)
    run = report.record.run
    picture = found_picture(report.record)
    data = pareto_data(report)
    importances = importance_table(report)
    scripts = (vega_script(), _file("numbers.js"), _file("page.js"))
    return _render(
        "page.html.j2",
        report=report,
        run=run,
        title=shortened_text(title(run), _LONGEST_TITLE),
        heading=shortened_text(printable(run.model), _LONGEST_TITLE),
        beside=beside,
        budgets=[budget_text(run, budget) for budget in run.budgets],
        convention=CONVENTION,
        differences=[differences(row, report.comparison[0]) for row in report.comparison],
        trained=any(row.accuracy is not None for row in report.comparison),
        network=network_svg(picture),
        site_header=option_table(report, codes),
        sites=sites_table(report),
        pareto=pareto_page_svg(report),
        axes=axis_names(report),
        score_name=score_name(report),
        notes=data.notes if data is not None else (),
        choices=listed_designs(report, codes),
        more=max(len(report.front) - _FRONT_SHOWN, 0),
        curve=svg(curve_spec(report)),
        curve_text=curve_sentence(report.curves),
        importances=importances.rows[:_IMPORTANCES_SHOWN],
        importances_more=max(len(importances.rows) - _IMPORTANCES_SHOWN, 0),
        sizes=sizes_table(report),
        health=health_table(report),
        provenance=provenance_table(report),
        scripts=scripts,
        **_training_effects(report),
        hashes=" ".join(map(_hash, scripts)),
        data=page_data(report, codes) | {"curve": curve_spec(report)},
    )


def _training_effects(report: Report) -> dict[str, Any]:
    """Values for the template training_effects.html.j2."""
    training_effects = report.training_effects
    if training_effects is None:
        return {"trained_style": _file("training_effects.css")}
    return {
        "trained_style": _file("training_effects.css"),
        "effects": shortened(effects_table(report), EFFECTS),
        "effects_chart": effects_page_svg(training_effects) if training_effects.effects else "",
        "effects_legend": effects_legend(report),
        "ranking": ranking_table(report, TOP),
        "ranking_chart": ranking_page_svg(training_effects),
        "ranking_legend": ranking_legend(report),
    }


def several_page(reports: Sequence[Report], table: Table, notes: Sequence[str]) -> str:
    """Several runs as HTML, without scripts.

    Args:
        reports: reports of the runs.
        table: one row per run.
        notes: notes on which numbers can be compared.
    """
    return _render(
        "several.html.j2",
        reports=reports,
        table=table,
        notes=notes,
        curves=svg(curves_spec(reports)),
    )


def listed_designs(report: Report, codes: DesignCodes) -> list[ListedDesign]:
    """The designs that the page can show: the best design, the baselines and the front."""
    offered: list[ListedDesign] = []
    *baselines, last = report.comparison
    for row in (last, *baselines):
        if row.design is not None and row.params is not None and row.macs is not None:
            trial = Trial(-1, row.design, row.score, row.params, row.macs)
            scored = report.record.best if row.role == "found" else report.record.baseline(row.role)
            offered.append(_choice(row.label, scored or trial, report, codes, row.note))
    return offered + [
        _choice(f"front {number}", trial, report, codes)
        for number, trial in enumerate(report.front[:_FRONT_SHOWN], start=1)
    ]


def _choice(
    label: str, trial: Trial, report: Report, codes: DesignCodes, note: str = ""
) -> ListedDesign:
    cost = cost_axis(report)
    shown = bool(drawn([trial], cost))
    return ListedDesign(
        label,
        design_text(trial.design),
        codes.code(trial.design),
        note or score_text(trial.score),
        giga(trial.macs),
        mega(trial.params),
        trial.cost(cost) / UNITS[cost] if shown else None,
        trial.cost("score") if shown else None,
    )


def _render(template: str, **content: Any) -> str:
    return html_environment().get_template(template).render(**content)


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
        "score": score_text,
        "compared_score": compared_score,
        "giga": giga,
        "mega": mega,
        "design": design_text,
        "latency": latency_text,
        "accuracy": accuracy_text,
    }
    templates.globals |= {"palette": PALETTE, "style": _file("page.css")}
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


def _file(name: str) -> str:
    return (files("bamsearch.reporting") / "templates" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
