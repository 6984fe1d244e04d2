"""The machine-readable report, ``report.json``; ``report.schema.json`` here is its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any

from bamsearch.records import Design, Trial
from bamsearch.reporting.comparison import Compared
from bamsearch.reporting.content import CONVENTION, Report, SiteRow
from bamsearch.reporting.training_effects import Ranked
from bamsearch.text import json_count

REPORT_VERSION = 1
"""Format of ``report.json``; raised when a key is removed or changes its meaning."""


def schema_text() -> str:
    """The JSON schema of ``report.json``."""
    return (files("bamsearch.reporting") / "report.schema.json").read_text(encoding="utf-8")


def json_value(report: Report) -> dict[str, Any]:
    """The report as JSON values: exact integers, designs as {site: [r, d]}."""
    run, answer, best = report.record.run, report.answer, report.record.best
    sites = [_site(row) for row in report.sites]
    return {
        "bamsearch_report": REPORT_VERSION,
        "run": run.name,
        "model": run.model,
        "input_shape": list(run.summary.input_shape),
        "flop_convention": CONVENTION,
        "finished": report.record.finished,
        "answer": _part(answer, "verdict", "headline", "remarks") | {"next": answer.next_step},
        **_evidence(report),
        "budget": {budget.quantity: budget.limit for budget in run.budgets},
        "score": run.score,
        "comparison": [_compared(row) for row in report.comparison],
        "found": None if best is None else trial_json(best) | {"sites": sites},
        "axes": list(report.axes),
        "pareto": [trial_json(trial) for trial in report.front],
        "best_so_far": _part(report.curves, "search", "random"),
        "importance": [
            _json(factor) | {"share": round(factor.share, 6)} for factor in report.importances
        ],
        "mattered": _training_effects(report),
        "size_correlation": _json(report.sizes),
        "health": _health(report),
        "provenance": report.provenance | {"seed": run.seed, "versions": dict(run.versions)},
        "reproduce": list(report.reproduce),
    }


def trial_json(trial: Trial) -> dict[str, Any]:
    """A trial: its design as {site: [r, d]}, exact integers."""
    return _part(trial, "design", "score", "params", "macs")


def _json(value: Any) -> Any:
    """Dataclasses and mappings as objects, tuples as lists, designs as {site: [r, d]}."""
    if isinstance(value, Design):
        return {i.site: [i.reduction, i.dilation] for i in value.insertions}
    if is_dataclass(value):
        return _part(value, *(field.name for field in fields(value)))
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, tuple | list) else value


def _part(value: Any, *names: str) -> dict[str, Any]:
    """Some of the fields of a dataclass."""
    return {name: _json(getattr(value, name)) for name in names}


def _compared(row: Compared) -> dict[str, Any]:
    difference = _json(row.difference)
    if row.difference is not None and row.difference.seeds_at_least is None:
        del difference["seeds_at_least"]  # evidence of format 1 lacks it
    return {
        **_part(row, "role", "label", "design", "params", "macs", "score"),
        "note": row.note or None,
        **_part(row, "latency", "accuracy"),
        "found_less_this": difference,
    }


def _evidence(report: Report) -> dict[str, Any]:
    """What the intervals cover and all looks at the test split, if recorded."""
    evidence = report.record.shown_evidence
    if evidence is None or evidence.over is None:
        return {}
    return {
        "evidence": {
            **_part(evidence, "over", "confidence", "seeds"),
            "exploratory": evidence.exploratory or None,
            **_part(evidence, "plans", "openings"),
        }
    }


def _site(row: SiteRow) -> dict[str, Any]:
    return {
        **_part(row.site, "name", "channels", "height", "width", "frames", "stride", "kind"),
        **_part(row.insertion, "reduction", "dilation"),
        **_part(row, "params", "macs", "ms"),
    }


def _training_effects(report: Report) -> dict[str, Any] | None:
    shown = report.training_effects
    if shown is None:
        return None
    analysis = shown.analysis
    return {
        "trainings": analysis.trainings,
        "designs": len(shown.ranking),
        **_part(analysis, "noise", "shared", "confidence", "gain"),
        "effects": [
            _json(effect) | {"distinguished": effect.distinguished} for effect in shown.effects
        ],
        "ranking": [_ranked(ranked) for ranked in shown.ranking],
        "remarks": list(analysis.remarks),
    }


def _ranked(ranked: Ranked) -> dict[str, Any]:
    return {
        "rank": ranked.rank,
        "role": ranked.role or None,
        "design": _json(ranked.design),
        **_part(ranked.estimate, "mean", "low", "high", "trainings", "chance"),
    }


def _health(report: Report) -> dict[str, Any]:
    health = report.health
    reasons = [{"reason": reason, "times": times} for reason, times in health.reasons]
    counts = {"designs": json_count(health.designs), "feasible": json_count(health.feasible)}
    return {**_json(health)} | counts | {"reasons": reasons}
