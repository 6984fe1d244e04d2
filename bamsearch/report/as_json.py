"""A report for programs: ``report.json``, whose schema is ``report.schema.json`` in this folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from bamsearch.records import Design, Difference, Trial
from bamsearch.report.comparison import Compared
from bamsearch.report.content import CONVENTION, Report
from bamsearch.report.sites import SiteRow
from bamsearch.text import indented_json, json_count

REPORT_VERSION = 1
"""Format of ``report.json``; raised when a key goes or changes its meaning."""


def schema_text() -> str:
    """The JSON schema of ``report.json``."""
    return (files("bamsearch.report") / "report.schema.json").read_text(encoding="utf-8")


def json_text(report: Report) -> str:
    """The report as indented JSON text."""
    return indented_json(json_value(report)) + "\n"


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
        "budget": {one.quantity: one.limit for one in run.budgets},
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
            asdict(one) | {"sites": list(one.sites), "share": round(one.share, 6)}
            for one in report.importances
        ],
        "mattered": _mattered(report),
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
    return {one.site: [one.reduction, one.dilation] for one in design.insertions}


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


def _difference(one: Difference) -> dict[str, Any]:
    content = asdict(one)
    if one.seeds_at_least is None:  # nor in evidence of format 1
        del content["seeds_at_least"]
    return content


def _evidence(report: Report) -> dict[str, Any]:
    """What intervals are over and every look at the test split, where that was recorded."""
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


def _mattered(report: Report) -> dict[str, Any] | None:
    found = report.mattered
    if found is None:
        return None
    return {
        "trainings": found.learned.trainings,
        "designs": len(found.ranking),
        "noise": found.learned.noise,
        "shared": found.learned.shared,
        "confidence": found.learned.confidence,
        "gain": None if found.learned.gain is None else asdict(found.learned.gain),
        "effects": [
            asdict(one) | {"sites": list(one.sites), "distinguished": one.distinguished}
            for one in found.effects
        ],
        "ranking": [
            {
                "rank": one.rank,
                "role": one.role or None,
                "design": design_json(one.design),
                "mean": one.estimate.mean,
                "low": one.estimate.low,
                "high": one.estimate.high,
                "trainings": one.estimate.trainings,
                "chance": one.estimate.chance,
            }
            for one in found.ranking
        ],
        "remarks": list(found.learned.remarks),
    }


def _health(report: Report) -> dict[str, Any]:
    reasons = [{"reason": why, "times": times} for why, times in report.health.reasons]
    found = report.health
    counts = {"designs": json_count(found.designs), "feasible": json_count(found.feasible)}
    return asdict(found) | counts | {"reasons": reasons}
