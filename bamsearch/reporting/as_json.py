"""The machine-readable report, ``report.json``; ``report.schema.json`` here is its schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from bamsearch.records import Design, Difference, Trial
from bamsearch.reporting.comparison import Compared
from bamsearch.reporting.content import CONVENTION, Report
from bamsearch.reporting.sites import SiteRow
from bamsearch.text import json_count

REPORT_VERSION = 1
"""Format of ``report.json``; raised when a key is removed or changes its meaning."""


def schema_text() -> str:
    """The JSON schema of ``report.json``."""
    return (files("bamsearch.reporting") / "report.schema.json").read_text(encoding="utf-8")


def json_value(report: Report) -> dict[str, Any]:
    """The report as JSON values: exact integers, designs as {site: [r, d]}."""
    run, summary = report.record.run, report.record.run.summary
    return {
        "bamsearch_report": REPORT_VERSION,
        "run": run.name,
        "model": run.model,
        "input_shape": list(summary.input_shape),
        "flop_convention": CONVENTION,
        "finished": report.record.finished,
        "answer": {
            "verdict": report.answer.verdict,
            "headline": report.answer.headline,
            "remarks": list(report.answer.remarks),
            "next": report.answer.next_step,
        },
        **_evidence(report),
        "budget": {budget.quantity: budget.limit for budget in run.budgets},
        "score": run.score,
        "comparison": [_compared(row) for row in report.comparison],
        "found": _found(report),
        "axes": list(report.axes),
        "pareto": [trial_json(trial) for trial in report.front],
        "best_so_far": {
            "search": list(report.curves.search),
            "random": list(report.curves.random),
        },
        "importance": [
            asdict(item) | {"sites": list(item.sites), "share": round(item.share, 6)}
            for item in report.importances
        ],
        "mattered": _training_effects(report),
        "size_correlation": asdict(report.sizes),
        "health": _health(report),
        "provenance": report.provenance | {"seed": run.seed, "versions": dict(run.versions)},
        "reproduce": list(report.reproduce),
    }


def trial_json(trial: Trial) -> dict[str, Any]:
    """A trial: its design as {site: [r, d]}, exact integers."""
    return {
        "design": design_json(trial.design),
        "score": trial.score,
        "params": trial.params,
        "macs": trial.macs,
    }


def design_json(design: Design) -> dict[str, list[int]]:
    """A design as {site: [r, d]}."""
    return {
        insertion.site: [insertion.reduction, insertion.dilation] for insertion in design.insertions
    }


def _compared(row: Compared) -> dict[str, Any]:
    return {
        "role": row.role,
        "label": row.label,
        "design": None if row.design is None else design_json(row.design),
        "params": row.params,
        "macs": row.macs,
        "score": row.score,
        "note": row.note or None,
        "latency": None if row.latency is None else asdict(row.latency),
        "accuracy": None if row.accuracy is None else asdict(row.accuracy),
        "found_less_this": None if row.difference is None else _difference(row.difference),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    content = asdict(difference)
    if difference.seeds_at_least is None:  # evidence of format 1 lacks it
        del content["seeds_at_least"]
    return content


def _evidence(report: Report) -> dict[str, Any]:
    """What the intervals cover and all looks at the test split, if recorded."""
    evidence = report.record.shown_evidence
    if evidence is None or evidence.over is None:
        return {}
    plans = [asdict(plan) for plan in evidence.plans]
    openings = [asdict(opening) for opening in evidence.openings]
    return {
        "evidence": {
            "over": evidence.over,
            "confidence": evidence.confidence,
            "seeds": list(evidence.seeds),
            "exploratory": evidence.exploratory or None,
            "plans": json.loads(json.dumps(plans)),
            "openings": openings,
        }
    }


def _found(report: Report) -> dict[str, Any] | None:
    best = report.record.best
    if best is None:
        return None
    return trial_json(best) | {"sites": [_site(row) for row in report.sites]}


def _site(row: SiteRow) -> dict[str, Any]:
    site = row.site
    return {
        "name": site.name,
        "channels": site.channels,
        "height": site.height,
        "width": site.width,
        "frames": site.frames,
        "stride": site.stride,
        "kind": site.kind,
        "reduction": row.insertion.reduction,
        "dilation": row.insertion.dilation,
        "params": row.params,
        "macs": row.macs,
        "ms": row.ms,
    }


def _training_effects(report: Report) -> dict[str, Any] | None:
    training_effects = report.training_effects
    if training_effects is None:
        return None
    return {
        "trainings": training_effects.analysis.trainings,
        "designs": len(training_effects.ranking),
        "noise": training_effects.analysis.noise,
        "shared": training_effects.analysis.shared,
        "confidence": training_effects.analysis.confidence,
        "gain": None
        if training_effects.analysis.gain is None
        else asdict(training_effects.analysis.gain),
        "effects": [
            asdict(effect) | {"sites": list(effect.sites), "distinguished": effect.distinguished}
            for effect in training_effects.effects
        ],
        "ranking": [
            {
                "rank": ranked.rank,
                "role": ranked.role or None,
                "design": design_json(ranked.design),
                "mean": ranked.estimate.mean,
                "low": ranked.estimate.low,
                "high": ranked.estimate.high,
                "trainings": ranked.estimate.trainings,
                "chance": ranked.estimate.chance,
            }
            for ranked in training_effects.ranking
        ],
        "remarks": list(training_effects.analysis.remarks),
    }


def _health(report: Report) -> dict[str, Any]:
    reasons = [{"reason": reason, "times": times} for reason, times in report.health.reasons]
    health = report.health
    counts = {"designs": json_count(health.designs), "feasible": json_count(health.feasible)}
    return asdict(health) | counts | {"reasons": reasons}
