"""The charts of the reports, by the names of their files, as Vega-Lite specifications."""

from __future__ import annotations

from collections.abc import Sequence

from bamsearch.records import Audit
from bamsearch.reporting.charts.audit import agreements_spec, scatter_spec
from bamsearch.reporting.charts.curves import curve_spec, curves_spec
from bamsearch.reporting.charts.intervals import effects_spec, ranking_spec
from bamsearch.reporting.charts.look import Spec
from bamsearch.reporting.charts.pareto import still_spec
from bamsearch.reporting.content import Report


def run_charts(report: Report) -> dict[str, Spec]:
    """The charts of a run."""
    charts = {"pareto": still_spec(report), "curve": curve_spec(report)}
    effects = report.training_effects
    if effects is not None:
        charts["ranking"] = ranking_spec(effects)
        if effects.effects:
            charts["effects"] = effects_spec(effects)
    return charts


def runs_charts(reports: Sequence[Report]) -> dict[str, Spec]:
    """The charts of several runs side by side."""
    return {"curve": curves_spec(reports)}


def audit_charts(audit: Audit) -> dict[str, Spec]:
    """The charts of an audit; empty if it is not finished."""
    if not audit.finished:
        return {}
    return {"agreement": agreements_spec(audit), "accuracy": scatter_spec(audit)}
